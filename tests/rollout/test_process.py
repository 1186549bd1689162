"""What an engine's child process inherits from the process that starts it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

LEADER = """
import multiprocessing, sys, time
from ablate.rollout.process import children_end_with_us

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
    deadline = time.monotonic() + 30
    while runs(child) and time.monotonic() < deadline:
        time.sleep(0.02)
    is_left = runs(child)
    if is_left:
        os.kill(child, signal.SIGKILL)
    assert not is_left
