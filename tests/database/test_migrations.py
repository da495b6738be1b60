"""The schema comes, goes, and is what seedtest_assets.tables says."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext

from alembic import command
from seedtest_assets import tables
from seedtest_assets.intake.partitions import partition_attempts
from seedtest_assets.local.home import CHECKOUT
from seedtest_assets.local.postgres import EmbeddedPostgres
from seedtest_assets.settings import settings

KPI_KEYS = {
    *("I_t", "E_t", "R_t", "A_t", "P", "P_lower", "P_upper", "sigma", "S", "churn_state", "growth_slope"),
    *("anomaly_score", "anomaly_flag", "forecast_theta", "segment_label"),
}


@pytest.fixture
def empty(migrated: str, postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch) -> Iterator[sa.Engine]:
    """A second database on the tests' server, with nothing in it."""
    administrator = sa.create_engine(
        sa.make_url(migrated).set(
            username="postgres", password=(postgres.folder / "password.postgres").read_text(), database="postgres"
        ),
        isolation_level="AUTOCOMMIT",
    )
    with administrator.connect() as connection:
        connection.execute(sa.text("DROP DATABASE IF EXISTS migrations"))
        connection.execute(sa.text("CREATE DATABASE migrations OWNER seedtest"))
    url = sa.make_url(migrated).set(database="migrations")
    monkeypatch.setenv("DATABASE_URL", url.render_as_string(hide_password=False))
    settings.cache_clear()
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    yield engine
    with administrator.connect() as connection:
        connection.execute(sa.text("DROP DATABASE migrations"))
    administrator.dispose()


@pytest.fixture
def alembic_config() -> Config:
    config = Config(CHECKOUT / "alembic.ini")
    config.attributes["configure_logger"] = False
    return config


def relations(engine: sa.Engine) -> set[str]:
    """Everything that is there beside PostgreSQL's own and Alembic's empty version table."""
    query = sa.text(
        "SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema' "
        "AND c.relname NOT LIKE 'alembic\\_version%' "
        "UNION SELECT nspname FROM pg_namespace WHERE nspname IN ('intake', 'analytics')"
    )
    with engine.connect() as connection:
        return set(connection.execute(query).scalars())


def test_upgrade_from_empty_leaves_nothing_for_autogenerate(empty: sa.Engine, alembic_config: Config) -> None:
    command.upgrade(alembic_config, "head")
    with empty.connect() as connection:
        options = {
            "include_schemas": True,
            "compare_server_default": True,
            "include_name": lambda name, kind, parents: kind != "schema" or name in tables.SCHEMAS,
        }
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, tables.metadata) == []
    command.check(alembic_config)


def test_a_tenant_may_have_a_name_that_means_something_in_sql(empty: sa.Engine) -> None:
    environment = os.environ | {"SEEDTEST_TENANT": "default"}
    for direction in (("upgrade", "head"), ("downgrade", "base")):
        done = subprocess.run(
            [sys.executable, "-m", "alembic", *direction],
            cwd=CHECKOUT,
            env=environment,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()
        inspector = sa.inspect(empty)
        names = {*inspector.get_table_names("default"), *inspector.get_view_names("default")}
        made = {table.name for table in tables.metadata.tables.values()} | {"mirt_item_params_current"}
        assert names == {"alembic_version"} | (made if "head" in direction else set())
        assert not {"intake", "analytics"} & set(inspector.get_schema_names())


def test_a_school_with_its_answers_by_month_has_the_same_schema(empty: sa.Engine, alembic_config: Config) -> None:
    command.upgrade(alembic_config, "head")
    with empty.begin() as connection:
        assert partition_attempts(connection)
    command.check(alembic_config)
    command.upgrade(alembic_config, "head")


def test_autogenerate_sees_a_column_a_type_and_a_comment_that_differ(empty: sa.Engine, alembic_config: Config) -> None:
    command.upgrade(alembic_config, "head")
    with empty.begin() as connection:
        connection.execute(sa.text("ALTER TABLE intake.holiday ADD COLUMN region text"))
        connection.execute(sa.text("ALTER TABLE analytics.weekly_metrics ALTER COLUMN a_t TYPE real"))
        connection.execute(sa.text("COMMENT ON COLUMN intake.attempt.correct IS 'something else'"))
    with empty.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "include_schemas": True,
                "include_name": lambda name, kind, parents: kind != "schema" or name in tables.SCHEMAS,
            },
        )
        found = repr(compare_metadata(context, tables.metadata))
    assert all(word in found for word in ("remove_column", "modify_type", "modify_comment"))


def test_downgrade_to_base_leaves_nothing_and_upgrade_works_again(empty: sa.Engine, alembic_config: Config) -> None:
    command.upgrade(alembic_config, "head")
    first = relations(empty)
    assert {"intake", "analytics", "intake.attempt", "analytics.weekly_kpi", "public.weekly_kpi"} <= first
    command.downgrade(alembic_config, "base")
    assert relations(empty) == set()
    command.upgrade(alembic_config, "head")
    assert relations(empty) == first


def test_upgrade_twice_changes_nothing_and_the_applications_own_tables_are_left_alone(
    empty: sa.Engine, alembic_config: Config
) -> None:
    with empty.begin() as connection:
        connection.execute(sa.text("CREATE TABLE public.exam_results (id uuid PRIMARY KEY)"))
    command.upgrade(alembic_config, "head")
    command.upgrade(alembic_config, "head")
    command.check(alembic_config)
    command.downgrade(alembic_config, "base")
    assert relations(empty) == {"public.exam_results", "public.exam_results_pkey"}


def test_the_meaning_of_tables_and_columns_reaches_postgresql(database: object, read) -> None:
    stored = dict(
        read(
            "SELECT format('%s.%s.%s', n.nspname, c.relname, a.attname), col_description(c.oid, a.attnum) "
            "FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE n.nspname IN ('intake', 'analytics') AND a.attnum > 0 AND c.relkind = 'r'"
        )
    )
    declared = {f"{t.fullname}.{c.name}": c.comment for t in tables.metadata.sorted_tables for c in t.c}
    assert stored == declared
    tables_stored = dict(
        read(
            "SELECT format('%s.%s', n.nspname, c.relname), obj_description(c.oid) FROM pg_class c "
            "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname IN ('intake','analytics') AND c.relkind='r'"
        )
    )
    assert tables_stored == {t.fullname: t.comment for t in tables.metadata.sorted_tables}
    assert all(tables_stored.values())


def test_the_view_for_old_readers_has_the_old_keys(database: object, read, write) -> None:
    write(
        "INSERT INTO analytics.weekly_kpi (user_id, week_start, as_of, i_t, p_goal, provenance, run_id) VALUES "
        "('00000000-0000-0000-0000-000000000001', '2025-06-23', '2025-06-30Z', 0.25, 0.5, '{}', gen_random_uuid())"
    )
    ((user, week, kpis, updated_at, computed_at),) = read(
        "SELECT v.user_id, v.week_start, v.kpis, v.updated_at, t.computed_at "
        "FROM public.weekly_kpi v JOIN analytics.weekly_kpi t USING (user_id, week_start)"
    )
    assert (str(user), str(week)) == ("00000000-0000-0000-0000-000000000001", "2025-06-23")
    assert set(kpis) == KPI_KEYS
    assert kpis["I_t"] == 0.25
    assert kpis["P"] == 0.5
    assert kpis["S"] is None
    assert updated_at == computed_at


def test_the_current_item_parameters_are_those_of_the_newest_week(database: object, read, write) -> None:
    for week, b in (("2025-06-16", 1.0), ("2025-06-23", 2.0), ("2025-06-09", 3.0)):
        write(
            "INSERT INTO analytics.mirt_fit_meta (run_id, week_start, as_of, model, model_spec, metrics, "
            "dagster_run_id) VALUES (md5(:week)::uuid, CAST(:week AS date), now(), '2PL', '{}', '{}', 'r')",
            {"week": week},
        )
        write(
            "INSERT INTO analytics.mirt_item_params (run_id, item_id, a, b, c, n_responses, is_anchor) "
            "VALUES (md5(:week)::uuid, 7, 1, :b, 0, 30, false)",
            {"week": week, "b": b},
        )
    assert read("SELECT item_id, b FROM analytics.mirt_item_params_current") == [(7, 2.0)]
