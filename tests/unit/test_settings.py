"""Every variable has a type, a default and a meaning, and a wrong value is named."""

from datetime import date

import pytest
from pydantic import ValidationError

from seedtest_assets.settings import Settings, settings


def variables() -> list[str]:
    return [name.upper() for name in Settings.model_fields]


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch):
    for name in variables():
        monkeypatch.delenv(name, raising=False)


def test_an_empty_environment_is_enough():
    found = Settings()
    assert found.database_url is None
    assert found.r_irt_base_url is None
    assert (found.seedtest_timezone, found.seedtest_start_date) == ("UTC", date(2004, 1, 5))
    assert (found.mirt_model, found.mirt_lookback_days, found.metrics_use_irt_theta) == ("2PL", 60, True)
    assert (found.mirt_attempts, found.mirt_link_method) == ("first", "robust")
    assert found.seedtest_attempt_relation is None


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_variable_says_what_it_means(name):
    assert len(Settings.model_fields[name].description or "") > 15


@pytest.mark.parametrize("name", variables())
def test_an_empty_variable_is_one_that_is_not_set(name, monkeypatch):
    monkeypatch.setenv(name, "")
    assert Settings() == Settings.model_construct(**Settings().model_dump())
    monkeypatch.delenv(name)
    assert getattr(Settings(), name.lower()) == Settings.model_fields[name.lower()].default


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("SEEDTEST_TIMEZONE", "Asia/Seoul", "Asia/Seoul"),
        ("SEEDTEST_START_DATE", "2020-01-06", date(2020, 1, 6)),
        ("SEEDTEST_DATA_END", "2006-06-30", date(2006, 6, 30)),
        ("SEEDTEST_ATTEMPT_RELATION", "public.attempt", "public.attempt"),
        ("METRICS_USE_IRT_THETA", "false", False),
        ("METRICS_USE_IRT_THETA", "0", False),
        ("MIRT_MODEL", "Rasch", "Rasch"),
        ("MIRT_LOOKBACK_DAYS", "365", 365),
        ("MIRT_ATTEMPTS", "last", "last"),
        ("MIRT_LINK_METHOD", "fixed", "fixed"),
        ("R_IRT_TIMEOUT_SECS", "12.5", 12.5),
    ],
)
def test_a_variable_is_read_with_its_type(name, text, value, monkeypatch):
    monkeypatch.setenv(name, text)
    assert getattr(Settings(), name.lower()) == value


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("SEEDTEST_TIMEZONE", "Seoul", "no IANA time zone"),
        ("SEEDTEST_TIMEZONE", "../etc/passwd", "no IANA time zone"),
        ("SEEDTEST_START_DATE", "2004-01-06", "a Tuesday"),
        ("SEEDTEST_START_DATE", "yesterday", "date"),
        ("SEEDTEST_ATTEMPT_RELATION", "attempt", "schema.name"),
        ("SEEDTEST_ATTEMPT_RELATION", "intake.attempt; DROP TABLE x", "schema.name"),
        ("MIRT_MODEL", "4PL", "Rasch"),
        ("MIRT_ATTEMPTS", "second", "first"),
        ("MIRT_LINK_METHOD", "mean", "Stocking-Lord"),
        ("MIRT_LINK_MIN_ANCHORS", "2", "greater than or equal to 3"),
        ("MIRT_LOOKBACK_DAYS", "6", "greater than or equal to 7"),
        ("MIRT_MIN_RESPONSES", "1", "greater than or equal to 2"),
        ("METRICS_USE_IRT_THETA", "perhaps", "boolean"),
        ("R_IRT_TIMEOUT_SECS", "0", "greater than 0"),
    ],
)
def test_a_wrong_value_is_refused_with_what_would_be_right(name, text, said, monkeypatch):
    monkeypatch.setenv(name, text)
    with pytest.raises(ValidationError) as caught:
        Settings()
    assert name.lower() in str(caught.value)
    assert said in str(caught.value)


def test_secrets_are_not_printed(monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgresql://me:hunter2@host/seedtest")
    monkeypatch.setenv("R_IRT_INTERNAL_TOKEN", "hunter3")
    assert "hunter" not in repr(Settings())


def test_the_environment_is_read_once(monkeypatch):
    before = settings()
    monkeypatch.setenv("MIRT_LOOKBACK_DAYS", "90")
    assert settings() is before
    settings.cache_clear()
    assert settings().mirt_lookback_days == 90


def test_the_order_of_variables_names_is_that_of_the_environment_contract():
    known = {"DATABASE_URL", "DAGSTER_DATABASE_URL", "SEEDTEST_TIMEZONE", "SEEDTEST_START_DATE", "SEEDTEST_DATA_END"}
    known |= {"SEEDTEST_ATTEMPT_RELATION", "METRICS_USE_IRT_THETA", "MIRT_MODEL", "MIRT_LOOKBACK_DAYS"}
    known |= {"MIRT_ATTEMPTS", "MIRT_LINK_METHOD"}
    known |= {"MIRT_MIN_RESPONSES", "R_IRT_BASE_URL", "R_IRT_INTERNAL_TOKEN", "R_IRT_TIMEOUT_SECS"}
    assert known <= set(variables())
