"""Alembic's environment: the metadata of seedtest_assets.tables against the database of DATABASE_URL."""

from logging.config import fileConfig

import sqlalchemy as sa
from sqlalchemy.schema import CreateSchema

from alembic import context
from seedtest_assets import tables
from seedtest_assets.intake.partitions import same_as_plain
from seedtest_assets.resources.database import NO_DATABASE, normalised_url
from seedtest_assets.settings import settings

if context.config.config_file_name is not None and context.config.attributes.get("configure_logger", True):
    fileConfig(context.config.config_file_name, disable_existing_loggers=False)


def include_name(name: str | None, kind: str, parents: dict[str, str | None]) -> bool:
    """Only our schemas: the application's own tables in the same database are none of our business."""
    return name in tables.SCHEMAS if kind == "schema" else True


url = settings().database_url
if url is None:
    raise SystemExit(NO_DATABASE)
options = {
    "target_metadata": tables.metadata,
    "include_schemas": True,
    "include_name": include_name,
    "compare_server_default": True,
    "version_table_schema": tables.TENANT,
}
if context.is_offline_mode():
    context.configure(url=normalised_url(url.get_secret_value()), literal_binds=True, **options)
    with context.begin_transaction():
        context.run_migrations()
else:
    engine = sa.create_engine(normalised_url(url.get_secret_value()))
    if tables.TENANT and not sa.inspect(engine).has_schema(tables.TENANT):
        with engine.begin() as connection:
            connection.execute(CreateSchema(tables.TENANT))
    with engine.connect() as connection:
        context.configure(connection=connection, include_object=same_as_plain(connection), **options)
        with context.begin_transaction():
            context.run_migrations()
    engine.dispose()
