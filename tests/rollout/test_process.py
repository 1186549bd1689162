"""What an engine leaves on the machine."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

from ablate.rollout.process import SOCKETS_PREFIX, remove_sockets_of_killed_runs


def test_the_sockets_of_a_killed_run_are_removed_and_those_of_a_living_run_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
    of_killed, of_living = (tmp_path / f"{SOCKETS_PREFIX}{pid}-x" for pid in (ended.pid, os.getpid()))
    for directory in (of_killed, of_living):
        directory.mkdir()
        (directory / "socket").touch()
    remove_sockets_of_killed_runs()
    assert [path.name for path in tmp_path.iterdir()] == [of_living.name]
