"""Many reports at once: what happens when one of them, a worker or the pipeline goes wrong."""

import multiprocessing
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from seedtest_assets.failures import TransientFailure
from seedtest_assets.reports.rendering import Request
from seedtest_assets.resources.report_renderer import render_batch

from .report_files import BOTH, BUNDLED, SOURCE, Page, pdf_text


def test_what_goes_wrong_is_named_and_stops_nothing(tmp_path):
    actions = {"2": "fail", "3": "die once", "6": "die"}
    requests = (
        Request(str(n), SOURCE, {"name": f"Kim{n}", "does": actions.get(str(n)), "flag": str(tmp_path / "flag")})
        for n in range(9)
    )
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    rendered = {found.key: found for found in render_batch(requests, BOTH, 2, scratch, using=BUNDLED)}
    problems = {key: found.problem for key, found in rendered.items() if found.problem}
    assert sorted(rendered) == [str(n) for n in range(9)]
    line = SOURCE.read_text().splitlines().index('        raise ValueError(d["name"])') + 1
    assert problems == {"2": f"report.qmd, line {line}: ValueError", "6": "its process ended, twice"}
    for key in rendered.keys() - problems.keys():
        assert f"Kim{key}" in Page(rendered[key].files["html"]).text
        assert f"Kim{key}" in pdf_text(rendered[key].files["pdf"])
    assert list(scratch.iterdir()) == []


def test_a_report_that_hangs_is_named(tmp_path):
    request = Request("slow", SOURCE, {"name": "Kim", "does": "hang", "flag": str(tmp_path / "pid")})
    (rendered,) = render_batch([request], BOTH, 1, tmp_path, using=BUNDLED, report_seconds=0.1)
    assert rendered.problem == "it took longer than 0.1 s, twice"
    assert workers_left() == []


def test_two_batches_at_once_never_mix():
    def names(batch: str) -> dict[str, str]:
        requests = (Request(f"{batch}{n}", SOURCE, {"name": f"{batch}{n}"}) for n in range(4))
        return {
            found.key: Page(found.files["html"]).text + pdf_text(found.files["pdf"])
            for found in render_batch(requests, BOTH, 1, using=BUNDLED)
        }

    with ThreadPoolExecutor() as pool:
        for found, batch in zip(pool.map(names, ["Anna", "Bora"]), ["Anna", "Bora"], strict=True):
            assert sorted(found) == [f"{batch}{n}" for n in range(4)]
            for key, text in found.items():
                assert set(re.findall(r"(?:Anna|Bora)\d", text)) == {key}


def test_no_more_is_read_than_there_are_workers_for():
    read = []

    def requests():
        for n in range(1000):
            read.append(n)
            yield Request(str(n), SOURCE, {"name": "Kim"})

    batch = render_batch(requests(), ("html",), 1, using=BUNDLED)
    next(batch)
    batch.close()
    assert workers_left() == []
    assert len(read) <= 3 * BUNDLED.chunk


def test_an_interrupted_batch_leaves_no_worker_and_no_file(tmp_path):
    def requests():
        yield from (Request(str(n), SOURCE, {"name": "Kim"}) for n in range(BUNDLED.chunk))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(render_batch(requests(), BOTH, 2, tmp_path, using=BUNDLED))
    assert workers_left() == []
    assert list(tmp_path.iterdir()) == []


def test_workers_that_cannot_start_are_worth_another_try_of_the_step(monkeypatch):
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with pytest.raises(TransientFailure, match="exit code 1"):
        list(render_batch([Request("key", SOURCE, {"name": "Kim"})], BOTH, 1, using=BUNDLED))


def workers_left() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if "seedtest_assets.reports.worker" in child.cmdline()]


def render_for_ever(scratch):
    request = Request("slow", SOURCE, {"name": "Kim", "does": "hang", "flag": str(scratch / "pid")})
    list(render_batch([request], BOTH, 1, scratch, using=BUNDLED))


def test_a_killed_pipeline_leaves_no_worker_and_no_file(tmp_path):
    pipeline = multiprocessing.get_context("fork").Process(target=render_for_ever, args=(tmp_path,))
    pipeline.start()
    recorded = tmp_path / "pid"
    while not (recorded.exists() and recorded.read_text()):
        assert pipeline.is_alive()
        time.sleep(0.02)
    pipeline.kill()
    pipeline.join()
    assert_ends(int(recorded.read_text()))
    assert list(tmp_path.iterdir()) == [recorded]


def assert_ends(pid: int) -> None:
    """It is gone, or goes within the time that a loaded machine may take."""
    deadline = time.monotonic() + 30
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_workers_do_not_load_the_pipeline():
    code = "import sys, seedtest_assets.reports.worker; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout.split()
    assert {"dagster", "sqlalchemy", "pandas"}.isdisjoint(loaded)
