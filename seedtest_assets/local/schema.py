"""The schema of the database in use: brought to the newest revision before anything reads or writes."""

import logging

from alembic.config import Config

from alembic import command
from seedtest_assets.local.home import CHECKOUT


def migrate() -> None:
    """`alembic upgrade head` on DATABASE_URL; where the schema is the newest already, nothing happens."""
    config = Config(CHECKOUT / "alembic.ini")
    config.attributes["configure_logger"] = False
    logging.getLogger("alembic").setLevel(logging.WARNING)
    command.upgrade(config, "head")
