"""Recorded child processes: found by any command, ended with all descendants, never taken for another's."""

import json
import os
import stat
import subprocess
import sys
import time

import psutil
import pytest

from seedtest_assets.local.processes import RecordedProcess, any_free_port, port_is_free

FAMILY = """
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print("ready", flush=True)
time.sleep(600)
"""
STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(600)
"""


@pytest.fixture
def start(tmp_path):
    started = []

    def start(code: str) -> RecordedProcess:
        process = RecordedProcess(tmp_path / "record.json")
        started.append(process)
        log = tmp_path / "log"
        process.start([sys.executable, "-c", code], port=1, log=log, cwd=tmp_path, environment=os.environ)
        while "ready" not in log.read_text():
            assert process.alive(), log.read_text()
            time.sleep(0.02)
        return process

    yield start
    for process in started:
        process.stop(grace=0.1)


def ended(process: psutil.Process) -> bool:
    """Whether it is gone, or goes within the moment that a killed process takes."""
    deadline = time.monotonic() + 5
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_stopping_ends_descendants_in_sessions_of_their_own(start, tmp_path):
    start(FAMILY)
    another_command = RecordedProcess(tmp_path / "record.json")
    family = another_command.members()
    assert len(family) == 2
    another_command.stop(grace=1)
    assert another_command.was_stopped()
    assert not another_command.alive()
    assert all(ended(member) for member in family)


def test_descendants_are_found_when_only_they_are_left(start):
    process = start(FAMILY)
    os.kill(process.pid(), 9)
    while process.alive():
        time.sleep(0.02)
    (orphan,) = process.members()
    process.stop(grace=1)
    assert ended(orphan)


def test_a_program_that_ignores_sigterm_is_killed(start):
    process = start(STUBBORN)
    (member,) = process.members()
    process.stop(grace=0.2)
    assert ended(member)


def test_a_program_that_died_by_itself_was_not_stopped(start):
    process = start("print('ready', flush=True); import time; time.sleep(0.3)")
    while process.alive():
        time.sleep(0.02)
    assert not process.was_stopped()


def test_a_process_number_that_changed_hands_is_left_alone(tmp_path):
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as innocent:
        record = tmp_path / "record.json"
        record.write_text(json.dumps({"mark": "of a process that is gone", "pid": innocent.pid, "port": 1}))
        process = RecordedProcess(record)
        assert not process.alive()
        process.stop(grace=0.2)
        assert innocent.poll() is None
        innocent.kill()


def test_the_record_is_private(start, tmp_path):
    start("print('ready', flush=True); import time; time.sleep(600)")
    assert stat.S_IMODE((tmp_path / "record.json").stat().st_mode) == 0o600


def test_a_port_in_use_is_not_free():
    import socket

    port = any_free_port()
    assert port_is_free(port)
    with socket.create_server(("127.0.0.1", port)):
        assert not port_is_free(port)
