-- Run once, as the superuser, when the data volume is new: two databases, each its own role's and closed to the other.
\getenv seedtest_password SEEDTEST_PASSWORD
\getenv dagster_password DAGSTER_PASSWORD
CREATE ROLE seedtest LOGIN PASSWORD :'seedtest_password';
CREATE ROLE dagster LOGIN PASSWORD :'dagster_password';
CREATE DATABASE seedtest OWNER seedtest;
CREATE DATABASE dagster OWNER dagster;
REVOKE ALL ON DATABASE seedtest, dagster FROM PUBLIC;
