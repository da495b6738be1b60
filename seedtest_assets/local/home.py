"""Where a checkout keeps what it installs and runs: its *home*.

    venv/       the virtual environment           postgres/   embedded PostgreSQL: data, log, passwords
    services/   R services: process, token, log   dagster/    DAGSTER_HOME
    log/        what was installed and served     installed   of what the virtual environment was made
    objects/    reports, where there is no S3_BUCKET

`run` asks this file, with the standard library alone, before anything is installed.
"""

import hashlib
import os
import platform
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]


def home() -> Path:
    """The state folder: SEEDTEST_HOME, else `.seedtest` in the checkout, else (root) one under /var/lib.

    PostgreSQL refuses to run as root. For root it runs as a system user, which must be able to reach its
    programs (in the virtual environment) and its data, and root's own home is closed to it.
    """
    if chosen := os.environ.get("SEEDTEST_HOME"):
        return Path(chosen).absolute()
    if os.geteuid() != 0:
        return CHECKOUT / ".seedtest"
    digest = hashlib.sha256(str(CHECKOUT).encode()).hexdigest()[:8]
    return Path("/var/lib/seedtest") / f"{CHECKOUT.name}-{digest}"


def installation() -> str:
    """SHA-256 of what a virtual environment is made of: the lock, the project, the interpreter, the place."""
    parts = [
        (CHECKOUT / "requirements.lock").read_bytes(),
        (CHECKOUT / "pyproject.toml").read_bytes(),
        platform.python_version().encode(),
        str(CHECKOUT).encode(),
    ]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


if __name__ == "__main__":
    print(home())
    print(installation())
