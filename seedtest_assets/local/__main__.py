"""`python -m seedtest_assets.local COMMAND`: run a command with this machine's databases and services."""

import subprocess
import sys

from seedtest_assets.local.machine import local_machine


def main(command: list[str]) -> int:
    """Run `command` inside `local_machine`; returns its exit status."""
    if not command:
        print(__doc__, file=sys.stderr)
        return 2
    with local_machine(), subprocess.Popen(command) as child:  # noqa: S603 - what the user typed
        while True:
            try:
                return child.wait()
            except KeyboardInterrupt:
                continue  # the terminal told the child too; it decides when to end


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
