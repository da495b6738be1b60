"""How long the code location takes to load: processor seconds of a fresh interpreter, median of several."""

import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

REPEATS = 9
CHECKOUT = Path(__file__).parents[2]
LIBRARIES = "import dagster, numpy, pandas, pyarrow.csv, scipy.optimize, scipy.special, sqlalchemy, psycopg2, httpx"
LOADED = (
    "from seedtest_assets.definitions import definitions; definitions().get_repository_def().load_all_definitions()"
)
CASES = {
    "the interpreter": ["-c", ""],
    "import dagster": ["-c", "import dagster"],
    "the libraries that the assets use": ["-c", f"{LIBRARIES}, pydantic_settings"],
    "the code location, all of it": ["-c", LOADED],
    "dagster definitions validate": ["-m", "dagster", "definitions", "validate", "-w", "workspace.yaml"],
}


def seconds(arguments: list[str]) -> tuple[float, float]:
    """Wall and processor seconds of a fresh interpreter and all that it starts, with an empty environment."""
    environment = {"HOME": os.environ["HOME"], "DAGSTER_DISABLE_TELEMETRY": "yes"}
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, *arguments], cwd=CHECKOUT, env=environment, check=True, capture_output=True)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


print("| what | wall s | CPU s |\n|---|--:|--:|")
for name, arguments in CASES.items():
    measured = [seconds(arguments) for _ in range(REPEATS)]
    wall, cpu = (statistics.median(column) for column in zip(*measured, strict=True))
    print(f"| {name} | {wall:.2f} | {cpu:.2f} |", flush=True)
