"""What a student's report costs: processor seconds, and memory over many."""

import pickle
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from uuid import UUID

import psutil

from seedtest_assets.reports import facts, renderers
from seedtest_assets.reports.rendering import Request, render
from seedtest_assets.resources.report_renderer import DESIGN, render_batch, renderer

SOURCE = DESIGN / "weekly_report.qmd"
BOTH = ("html", "pdf")
WEEK = date(2026, 11, 23)
FRESH = """
import pathlib, pickle, sys, tempfile
from seedtest_assets.reports.rendering import render
with tempfile.TemporaryDirectory() as scratch:
    made = render(*pickle.load(sys.stdin.buffer), ("html", "pdf"), pathlib.Path(scratch))
assert made[0].problem is None, made[0].problem
"""


def estimate(draw: random.Random, middle: float, spread: float) -> facts.Estimate:
    value = draw.gauss(middle, spread)
    return facts.Estimate(value, value - spread, value + spread, draw.randrange(5, 200))


def share(draw: random.Random) -> facts.Estimate:
    value = draw.random()
    return facts.Estimate(value, value * 0.8, value + (1 - value) * 0.2, draw.randrange(5, 200))


def student(seed: int) -> facts.StudentFacts:
    """A student of whom everything is known: 12 weeks, 12 topics, 3 goals. The numbers mean nothing."""
    draw = random.Random(seed)
    weeks = [
        facts.WeekFacts(WEEK - timedelta(weeks=n), draw.randrange(80), estimate(draw, 0, 0.5), estimate(draw, 0, 1))
        for n in reversed(range(12))
    ]
    names = [f"topic {n}" for n in draw.sample(range(100), 12)]
    topics = [
        facts.TopicFacts(name, 40, draw.randrange(41), WEEK, estimate(draw, 0, 0.7), draw.choice([-1, 0, 1]))
        for name in names
    ]
    goals = [
        facts.GoalFacts(topic, 1.0, WEEK + timedelta(weeks=4), True, share(draw), estimate(draw, 0, 0.5))
        for topic in (None, *names[:2])
    ]
    return facts.StudentFacts(
        user_id=UUID(int=draw.getrandbits(128)), name=f"Student {seed}", lang=draw.choice(["en", "ko"]),
        week_start=WEEK, as_of=WEEK + timedelta(weeks=1), lookback_days=60, weeks=weeks, answered=40,
        correct=draw.randrange(40),
        active_days=draw.randrange(8), sessions=12, idle_days=draw.randrange(8), mean_gap_days=1.5,
        session_minutes=22.0, lapsed=False, risk=draw.random(), improvement=estimate(draw, 0, 0.3),
        improvement_method="theta",
        efficiency=estimate(draw, 0, 0.2), recovery=share(draw), engagement=share(draw),
        slope=estimate(draw, 0, 0.1), forecast=estimate(draw, 0, 1),
        unusual=facts.UnusualFacts(draw.gauss(0, 1), estimate(draw, 0, 1), draw.random() < 0.1), goals=goals,
        topics=topics, next_topics=names[:3],
        practice=[facts.QuestionFacts(f"question {n}", names[n], 0.7) for n in range(5)],
        review=[facts.QuestionFacts(f"question {n}", names[n], None, WEEK, WEEK) for n in range(5)],
        reviews_due=9, segment=None, scale=facts.ScaleFacts("2PL", WEEK, 400, 20, facts.Estimate(63.0, 52, 74)),
    )  # fmt: skip


def requests(n: int) -> Iterator[Request]:
    return (Request(str(seed), SOURCE, facts.STUDENT.dump_python(student(seed), mode="json")) for seed in range(n))


def spent() -> float:
    """Processor seconds of all processes that this one has started and waited for."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def batch(n: int, formats: tuple[str, ...], workers: int) -> float:
    """Processor seconds that a batch of n reports takes."""
    before = spent()
    for made in render_batch(requests(n), formats, workers):
        assert made.problem is None, made.problem
    return spent() - before


def without_keeping(n: int) -> float:
    """Processor seconds a report with a pandoc of its own and fonts that are looked for anew; Python stays warm."""
    with tempfile.TemporaryDirectory() as scratch:
        for number, request in enumerate(requests(n + 3)):
            if number == 3:
                before = spent() + time.process_time()
            renderers._fonts.cache_clear()
            (made,) = render(renderer(), [request], BOTH, Path(scratch))
            assert made.problem is None, made.problem
    return (spent() + time.process_time() - before) / n


def fresh(n: int) -> float:
    """Processor seconds a report with a Python of its own."""
    before = spent()
    for request in requests(n):
        message = pickle.dumps((renderer(), [request]))
        subprocess.run([sys.executable, "-c", FRESH], input=message, check=True)
    return (spent() - before) / n


def speed() -> None:
    few, many = 8, 108
    print("| what | CPU s a report |\n|---|--:|")
    for formats in (("html",), ("pdf",), BOTH):
        each = (batch(many, formats, 1) - batch(few, formats, 1)) / (many - few)
        print(f"| {' + '.join(formats)}, a worker that is warm | {each:.2f} |", flush=True)
    print(f"| html + pdf, a pandoc to a report, fonts looked for anew | {without_keeping(30):.2f} |", flush=True)
    print(f"| html + pdf, a Python to a report | {fresh(5):.2f} |")


def memory(n: int) -> None:
    """One worker, and the pipeline's own process."""
    print("| reports | seconds | pipeline, MB | largest worker, MB |\n|--:|--:|--:|--:|")
    own, began, size = psutil.Process(), time.perf_counter(), 0
    largest = 0
    for number, made in enumerate(render_batch(requests(n), BOTH, 1), 1):
        assert made.problem is None, made.problem
        size += sum(map(len, made.files.values()))
        if number % 50 == 0:
            largest = max([largest, *(child.memory_info().rss for child in own.children())])
        if number % (n // 10) == 0:
            row = number, time.perf_counter() - began, own.memory_info().rss / 1e6, largest / 1e6
            print("| {:,} | {:.0f} | {:.0f} | {:.0f} |".format(*row), flush=True)
            largest = 0
    print(f"\n{size / n / 1e3:.0f} kB a report.")


if __name__ == "__main__":
    if sys.argv[1] == "speed":
        speed()
    else:
        memory(int(sys.argv[2]))
