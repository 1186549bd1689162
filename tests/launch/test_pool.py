"""Worker processes are started, used, stopped and outlived; what they do meanwhile is stood in for."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

HERE = Path(__file__).parent
TIME_LIMIT_S = 600


def start(directory: Path, *cells: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, str(HERE / "stand_ins.py"), str(directory), *cells],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(HERE)},
        start_new_session=True,
    )


def wait_for(*paths: Path) -> None:
    deadline = time.monotonic() + TIME_LIMIT_S
    while not all(path.exists() and path.read_text() for path in paths):
        assert time.monotonic() < deadline, f"none of {paths} appeared"
        time.sleep(0.01)


def is_alive(process: int) -> bool:
    status = Path("/proc", str(process), "stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] not in "ZX"


def test_every_run_is_made_once_and_one_that_fails_or_crashes_fails_alone(tmp_path):
    cells = ["done-1", "refused", "done-2", "crashes", "done-3"]
    pool = start(tmp_path, *cells)
    output, errors = pool.communicate(timeout=TIME_LIMIT_S)
    assert pool.returncode == 0, errors
    crashed = f"cell=crashes paths.outputs={tmp_path}: the process of this run was killed by signal 9"
    assert json.loads(output) == ["done", "the rule, the value and the fix", "done", crashed, "done"]
    assert errors.count("error: ") == 2, "each failure is printed at once, and once"
    processes = {(tmp_path / cell).read_text() for cell in cells}
    assert len(processes) <= 3, "two workers, and one more after the crash"
    assert str(pool.pid) not in processes


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_a_signal_to_the_pool_stops_every_worker_and_begins_no_other_run(tmp_path, number, code):
    pool = start(tmp_path, "waits-1", "waits-2", "done-1")
    wait_for(tmp_path / "waits-1", tmp_path / "waits-2")
    pool.send_signal(number)
    pool.communicate(timeout=TIME_LIMIT_S)
    assert pool.returncode == code
    assert [(tmp_path / f"waits-{k}.stopped").read_text() for k in (1, 2)] == [str(code)] * 2
    assert not (tmp_path / "done-1").exists()


def test_a_run_that_leaves_to_be_queued_again_stops_the_sweep(tmp_path):
    pool = start(tmp_path, "waits", "leaves", "done-1")
    pool.communicate(timeout=TIME_LIMIT_S)
    assert pool.returncode == 75
    assert (tmp_path / "waits.stopped").read_text() == "75"
    assert not (tmp_path / "done-1").exists()


def test_no_worker_outlives_a_pool_that_is_killed(tmp_path):
    pool = start(tmp_path, "waits-1", "waits-2")
    wait_for(tmp_path / "waits-1", tmp_path / "waits-2")
    pool.kill()
    pool.communicate(timeout=TIME_LIMIT_S)
    workers = [int((tmp_path / f"waits-{k}").read_text()) for k in (1, 2)]
    deadline = time.monotonic() + TIME_LIMIT_S
    while any(map(is_alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(map(is_alive, workers))
    assert not (tmp_path / "waits-1.stopped").exists(), "killed, not asked"
