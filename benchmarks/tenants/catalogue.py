"""What a thousand empty schemas weigh on one database; prints a table of the README.

python benchmarks/tenants/catalogue.py 10 100 1000
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import sqlalchemy as sa

from seedtest_assets import tables
from seedtest_assets.local.postgres import EmbeddedPostgres, programs

CATALOGUE = """
SELECT sum(pg_total_relation_size(c.oid)) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = 'pg_catalog' AND c.relkind = 'r'
"""
EMPTY = "SELECT sum(pg_total_relation_size(oid)) FROM pg_class WHERE relnamespace = 'school00000'::regnamespace"
RELATIONS = "SELECT count(*) FROM pg_class WHERE relkind IN ('r', 'i', 'S')"
JOINED = """
EXPLAIN SELECT * FROM school00000.weekly_metrics m JOIN school00000.survival_risk s USING (user_id, week_start)
JOIN school00000.growth_goal g USING (user_id, week_start)
"""


def make(engine: sa.Engine, number: int) -> None:
    """A tenant's schema, empty, as the tables say it."""
    name = f"school{number:05}"
    with engine.begin() as connection:
        connection.execute(sa.text(f"CREATE SCHEMA {name}"))
    translated = engine.execution_options(schema_translate_map=dict.fromkeys(tables.SCHEMAS, name))
    tables.metadata.create_all(translated, checkfirst=False)


def in_a_new_session(url: str, statement: str) -> float:
    """Milliseconds of a statement in a session that knows nothing yet; the best of five."""
    best = float("inf")
    for _ in range(5):
        engine = sa.create_engine(url, poolclass=sa.NullPool)
        with engine.connect() as connection:
            connection.execute(sa.text("SELECT 1"))
            began = time.perf_counter()
            connection.execute(sa.text(statement)).all()
            best = min(best, time.perf_counter() - began)
    return best * 1000


def dumped(url: str) -> float:
    """Seconds in which one tenant's schema is dumped."""
    plain = sa.make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    began = time.perf_counter()
    subprocess.run(
        [programs() / "pg_dump", "--schema=school00000", f"--dbname={plain}"], check=True, stdout=subprocess.DEVNULL
    )
    return time.perf_counter() - began


def main() -> None:
    print("| schemas | relations | catalogue, MB | plan of a join, ms | dump of one, s | one more, s |")
    print("|--:|--:|--:|--:|--:|--:|")
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        Path(name).chmod(0o755)
        server = EmbeddedPostgres(Path(name) / "postgres", fast=True)
        server.start()
        try:
            url = server.url("seedtest")
            engine = sa.create_engine(url)
            there = 0
            for wanted in map(int, sys.argv[1:]):
                began = time.perf_counter()
                for number in range(there, wanted):
                    make(engine, number)
                each = (time.perf_counter() - began) / (wanted - there)
                there = wanted
                with engine.connect() as connection:
                    size, relations = (connection.execute(sa.text(sql)).scalar_one() for sql in (CATALOGUE, RELATIONS))
                    empty = connection.execute(sa.text(EMPTY)).scalar_one()
                plan = in_a_new_session(url, JOINED)
                print(
                    f"| {wanted:,} | {relations:,} | {int(size) >> 20} | {plan:.1f} | {dumped(url):.1f} | {each:.2f} |",
                    flush=True,
                )
            print(f"\nAn empty schema has {int(empty) >> 10} kB.")
            engine.dispose()
        finally:
            server.stop()


if __name__ == "__main__":
    main()
