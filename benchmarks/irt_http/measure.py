"""Calibration through HTTP: seconds from the call to the result, and how fast the service answers meanwhile."""

import os
import tempfile
import threading
import time
from pathlib import Path

import httpx
import numpy as np
import pandas as pd
import psutil

from seedtest_assets.local.services import RServices
from seedtest_assets.resources.plumber import IrtService
from seedtest_assets.settings import settings

PRIORS = {"a": {"meanlog": 0.0, "sdlog": 0.5}, "d": {"mean": 0.0, "sd": 3.0}}
CASES = [
    # students, items, share answered, model
    (300, 240, 0.55, "2PL"),
    (10_000, 500, 0.05, "Rasch"),
    (10_000, 500, 0.05, "2PL"),
]


def answers(students: int, items: int, share: float, seed: int = 1) -> tuple[pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(seed)
    theta, b, a = rng.normal(size=students), rng.normal(size=items), np.exp(rng.normal(0, 0.3, items))
    student, item = np.nonzero(rng.random((students, items)) < share)
    correct = rng.random(len(student)) < 1 / (1 + np.exp(-a[item] * (theta[student] - b[item])))
    return pd.DataFrame({"student_id": student.astype(str), "item_id": item, "correct": correct}), b


def latencies(base_url: str, stop: threading.Event, found: list[float]) -> None:
    with httpx.Client(base_url=base_url, trust_env=False) as client:
        while not stop.is_set():
            began = time.perf_counter()
            client.get("/healthz").raise_for_status()
            found.append(1000 * (time.perf_counter() - began))
            time.sleep(0.02)


def peak_of_children(stop: threading.Event, found: list[int]) -> None:
    while not stop.is_set():
        for process in psutil.process_iter(["name"]):
            if process.info["name"] in {"R", "Rscript"}:
                found.append(process.memory_info().rss)
        time.sleep(0.1)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        services = RServices(Path(folder))
        try:
            os.environ |= services.start()
            settings.cache_clear()
            irt = IrtService()
            columns = "students x items", "answers", "model", "standard errors", "seconds", "cycles", "r(b, true b)"
            print("|", " | ".join([*columns, "R peak MB", "/healthz p50, p95, max ms"]), "|")
            print("|---|--:|---|---|--:|--:|--:|--:|--:|")
            for students, items, share, model in CASES:
                frame, b = answers(students, items, share)
                for errors in ("none", "block", "full"):
                    stop, waits, memory = threading.Event(), [], []
                    url = os.environ["R_IRT_BASE_URL"]
                    watchers = [
                        threading.Thread(target=latencies, args=(url, stop, waits)),
                        threading.Thread(target=peak_of_children, args=(stop, memory)),
                    ]
                    for watcher in watchers:
                        watcher.start()
                    began = time.perf_counter()
                    fit = irt.calibrate(frame, model=model, priors=PRIORS, min_responses=30, standard_errors=errors)
                    seconds = time.perf_counter() - began
                    stop.set()
                    for watcher in watchers:
                        watcher.join()
                    metrics = fit.fit_meta["metrics"]
                    r = np.corrcoef(fit.items["b"], b[fit.items["item_id"]])[0, 1]
                    p50, p95 = np.percentile(waits, [50, 95])
                    print(
                        f"| {students:,} x {items} | {len(frame):,} | {model} | {errors} | {seconds:.1f} | "
                        f"{metrics['iterations']} | {r:.3f} | {max(memory) / 2**20:,.0f} | "
                        f"{p50:.0f}, {p95:.0f}, {max(waits):.0f} |"
                    )
        finally:
            services.stop()


if __name__ == "__main__":
    main()
