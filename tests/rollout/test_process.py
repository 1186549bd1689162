"""An engine's process ends with its parent, its sockets too, and whoever waits for a killed one is told."""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import subprocess
import sys
import time
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace

import pytest

from ablate.errors import UserError
from ablate.rollout.vllm import child

LEADER = """
import multiprocessing, sys, time
from ablate.rollout.vllm.process import children_end_with_us

if __name__ == "__main__":
    with children_end_with_us():
        child = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(60,))
        child.start()
    print(child.pid, flush=True)
    time.sleep(60)
"""


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def test_a_child_that_is_still_starting_ends_with_a_killed_leader(tmp_path):
    script = tmp_path / "leader.py"
    script.write_text(LEADER)
    leader = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True)
    child = int(leader.stdout.readline())
    leader.kill()
    leader.wait()
    deadline = time.monotonic() + 300
    while runs(child) and time.monotonic() < deadline:
        time.sleep(0.02)
    is_left = runs(child)
    if is_left:
        os.kill(child, signal.SIGKILL)
    assert not is_left


SOCKETS = """
import os, pathlib, signal
from ablate.rollout.vllm.process import directory_that_ends_with_us

directory = pathlib.Path(directory_that_ends_with_us())
(directory / "socket").touch()
print(directory, flush=True)
os.killpg(0, signal.SIGKILL)
"""


def test_a_directory_for_sockets_is_gone_after_the_kill_of_a_whole_process_group():
    leader = subprocess.run([sys.executable, "-c", SOCKETS], capture_output=True, text=True, start_new_session=True)
    directory = Path(leader.stdout.strip())
    assert leader.returncode == -signal.SIGKILL
    assert directory.name.startswith("ablate-sockets-")
    deadline = time.monotonic() + 300
    while directory.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not directory.exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_whoever_waits_for_an_engine_that_is_killed_or_stopped_is_told(number, monkeypatch):
    monkeypatch.setattr(child, "POLL_S", 0.1)
    engine = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(60,))
    engine.start()
    resources = SimpleNamespace(engine_manager=SimpleNamespace(processes=[engine]), engine_dead=False)
    call = Future()  # as of collective_rpc
    client = SimpleNamespace(resources=resources, outputs_queue=queue.Queue(), utility_results={1: call})
    child.report_death(client, silence_s=0.2)
    os.kill(engine.pid, number)
    with pytest.raises(UserError, match="the engine's process ended"), child.death_in_one_sentence():
        call.result(timeout=600)
    assert isinstance(client.outputs_queue.get(timeout=600), Exception)
    assert resources.engine_dead
