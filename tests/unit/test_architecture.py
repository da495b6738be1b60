"""Imports go one way: the contracts of pyproject.toml hold, and they can fail."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from seedtest_assets.local.home import CHECKOUT

LINT = [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"]


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*LINT, "--no-cache"], cwd=folder, capture_output=True, text=True, check=False)


def test_imports_go_down_only():
    result = lint(CHECKOUT)
    assert result.returncode == 0, result.stdout
    assert "0 broken" in result.stdout


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("models/recovery.py", "import sqlalchemy", "Models are pure statistics"),
        ("models/irt.py", "import dagster", "Models are pure statistics"),
        ("tables.py", "from seedtest_assets import definitions", "Downwards only"),
        ("resources/plumber.py", "from seedtest_assets.assets import irt", "Downwards only"),
        ("assets/irt.py", "from seedtest_assets.automation import jobs", "Downwards only"),
    ],
)
def test_an_import_upwards_is_found(tmp_path, module, line, contract):
    shutil.copytree(CHECKOUT / "seedtest_assets", tmp_path / "seedtest_assets")
    shutil.copyfile(CHECKOUT / "pyproject.toml", tmp_path / "pyproject.toml")
    with (tmp_path / "seedtest_assets" / module).open("a") as file:
        file.write(f"\n{line}\n")
    result = lint(tmp_path)
    assert result.returncode != 0
    assert contract in result.stdout
