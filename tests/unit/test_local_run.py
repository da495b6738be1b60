"""The shell script `run`: its syntax, its help, its exit codes."""

import re
import shutil
import subprocess

import pytest

from seedtest_assets.local.home import CHECKOUT

RUN = CHECKOUT / "run"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([RUN, *arguments], capture_output=True, text=True, check=False)


def test_it_is_valid_bash():
    checked = subprocess.run(["bash", "-n", RUN], capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shellcheck_finds_nothing():
    checked = subprocess.run(["shellcheck", RUN], capture_output=True, text=True, check=False)
    assert checked.stdout == ""


def test_the_help_names_every_command_and_every_tier():
    taken = re.search(r"^  (demo \| .*)\) ;;$", RUN.read_text(), re.MULTILINE)
    assert taken
    shown = run("help")
    assert shown.returncode == 0
    for command in taken[1].split(" | "):
        assert re.search(rf"^  {command}\b", shown.stdout, re.MULTILINE), command
    for tier in (folder.name for folder in (CHECKOUT / "tests").iterdir() if any(folder.glob("test_*.py"))):
        assert tier in shown.stdout, tier


def test_an_unknown_command_shows_the_help_and_fails():
    refused = run("dmeo")
    assert refused.returncode == 2
    assert refused.stdout == ""
    assert "./run COMMAND" in refused.stderr
