"""R services as child processes: ready when start returns, gone with their workers after stop."""

import os
import signal
import stat
import time

import httpx
import psutil
import pytest

from seedtest_assets.local import services as module
from seedtest_assets.local.services import RService, RServices, ServiceError


@pytest.fixture
def services(tmp_path):
    mine = RServices(tmp_path)
    yield mine
    mine.stop()


def family(services: RServices, name: str = "irt") -> list[psutil.Process]:
    leader = psutil.Process(next(status.pid for status in services.status() if status.name == name))
    return [leader, *leader.children(recursive=True)]


def left(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that still run when a killed process has had its moment to go."""
    deadline = time.monotonic() + 5
    while alive := [each for each in processes if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]:
        if time.monotonic() > deadline:
            break
        time.sleep(0.05)
    return alive


def test_who_starts_no_irt_service_is_told_of_no_shared_folder(services):
    assert services.start(()) == {}


def test_a_started_service_is_ready_and_asks_for_its_token(services):
    variables = services.start()
    url, token = variables["R_IRT_BASE_URL"], variables["R_IRT_INTERNAL_TOKEN"]
    assert httpx.get(f"{url}/readyz").status_code == 200
    assert httpx.get(f"{url}/metadata").status_code == 401
    assert httpx.get(f"{url}/metadata", headers={"Authorization": f"Bearer {token}"}).status_code == 200
    assert stat.S_IMODE((services.folder / "irt.token").stat().st_mode) == 0o600


def test_a_running_service_is_left_as_it_is(services):
    variables = services.start()
    before = services.status()
    assert RServices(services.folder).start() == variables
    assert services.status() == before


def test_stop_leaves_no_worker(services):
    services.start()
    started = [process for status in services.status() for process in family(services, status.name)]
    assert len(started) >= 2 * len(module.SERVICES)
    RServices(services.folder).stop()  # another command's
    assert left(started) == []


def test_a_killed_service_starts_again_with_the_same_address_and_token(services):
    variables = services.start()
    started = family(services)
    os.kill(started[0].pid, signal.SIGKILL)
    assert left(started[:1]) == []
    assert services.start() == variables
    assert left(started) == []
    assert not set(started) & set(family(services))


def test_a_service_that_dies_is_reported_with_the_end_of_its_log(services, monkeypatch):
    unknown = RService("nosuch", "R_NOSUCH")
    monkeypatch.setattr(module, "SERVICES", (unknown,))
    with pytest.raises(ServiceError, match=r"(?s)nosuch died while it started.*Name one service of"):
        RServices(services.folder).start((unknown,))


def test_a_machine_without_r_is_told_so(services, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ServiceError, match="R is missing"):
        services.start()
