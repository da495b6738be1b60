"""Where the state of a checkout is kept, for the command line and for `run` alike."""

import subprocess
import sys
from pathlib import Path

import pytest

from seedtest_assets.local import home as module
from seedtest_assets.local.home import CHECKOUT, home, installation


def test_a_chosen_home_wins(monkeypatch, tmp_path):
    monkeypatch.setenv("SEEDTEST_HOME", str(tmp_path))
    assert home() == tmp_path


def test_an_ordinary_user_keeps_it_in_the_checkout(monkeypatch):
    monkeypatch.delenv("SEEDTEST_HOME", raising=False)
    monkeypatch.setattr(module.os, "geteuid", lambda: 1000)
    assert home() == CHECKOUT / ".seedtest"


def test_root_keeps_it_where_the_database_user_can_reach_it(monkeypatch):
    monkeypatch.delenv("SEEDTEST_HOME", raising=False)
    monkeypatch.setattr(module.os, "geteuid", lambda: 0)
    mine = home()
    assert mine.parent == Path("/var/lib/seedtest")
    monkeypatch.setattr(module, "CHECKOUT", CHECKOUT.parent / "elsewhere" / CHECKOUT.name)
    assert home() != mine  # two checkouts of one name do not share a database


@pytest.mark.parametrize("changed", ["requirements.lock", "pyproject.toml"])
def test_a_changed_lock_or_project_asks_for_a_new_environment(monkeypatch, tmp_path, changed):
    for name in ("requirements.lock", "pyproject.toml"):
        (tmp_path / name).write_text("one")
    monkeypatch.setattr(module, "CHECKOUT", tmp_path)
    before = installation()
    assert installation() == before
    (tmp_path / changed).write_text("two")
    assert installation() != before


def test_run_is_told_what_the_command_line_uses():
    told = subprocess.run(
        [sys.executable, "-I", CHECKOUT / "seedtest_assets" / "local" / "home.py"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.splitlines() == [str(home()), installation()]
