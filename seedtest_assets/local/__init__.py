"""The whole system on one machine: embedded PostgreSQL and the R services as child processes."""
