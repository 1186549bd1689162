"""``ablate.serve run=true`` starts a server again that ends, and leaves none behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROGRAM = """
import sys
from ablate.serve import run
from ablate.serve.lines import Server
run.PAUSE_S = 0.1
words = ("-c", sys.argv[2])
run.run_servers([Server(0, "none", place, (*words, f"{sys.argv[1]}{place}")) for place in range(2)], "127.0.0.1", 1)
"""


SERVER = "import os, sys, time; open(sys.argv[1], 'a').write(f'{os.getpid()}\\n'); time.sleep(600)"
WITH_CHILD = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {SERVER!r}, sys.argv[1]]); {SERVER}"


def wait_for(condition, seconds: float = 300.0):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return found


def ids(path: Path) -> list[int]:
    return [int(line) for line in path.read_text().splitlines()] if path.is_file() else []


def test_a_server_that_ends_is_started_again_and_all_end_with_the_command(tmp_path):
    environment = {**os.environ, "ABLATE_SERVER_TOKEN": "secret"}
    log = tmp_path / "server"
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(log), SERVER], env=environment, stderr=subprocess.DEVNULL
    )
    first, second = tmp_path / "server0", tmp_path / "server1"
    try:
        wait_for(lambda: ids(first) and ids(second))
        os.kill(ids(first)[0], signal.SIGKILL)
        wait_for(lambda: len(ids(first)) == 2)
        assert len(ids(second)) == 1, "the other server runs on"
        process.terminate()
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
    assert not any(Path(f"/proc/{number}").exists() for number in [*ids(first), *ids(second)])


def test_servers_and_the_processes_that_they_started_end_with_a_command_that_is_killed(tmp_path):
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "server"), WITH_CHILD]
    process = subprocess.Popen(command, env={**os.environ, "ABLATE_SERVER_TOKEN": "secret"})
    wait_for(lambda: len(ids(tmp_path / "server0")) == len(ids(tmp_path / "server1")) == 2)
    process.kill()
    process.wait()
    started = [*ids(tmp_path / "server0"), *ids(tmp_path / "server1")]
    wait_for(lambda: not any(Path(f"/proc/{number}").exists() for number in started))


def test_a_server_that_shares_its_gpu_stays_away(tmp_path):
    log, program = tmp_path / "server", PROGRAM.replace('"127.0.0.1", 1)', '"127.0.0.1", 1, starts_again=False)')
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(log), SERVER], env={**os.environ, "ABLATE_SERVER_TOKEN": "secret"}
    )
    first, second = tmp_path / "server0", tmp_path / "server1"
    try:
        wait_for(lambda: ids(first) and ids(second))
        os.kill(ids(first)[0], signal.SIGKILL)
        time.sleep(2.0)  # twenty times the pause of this test
        assert [len(ids(first)), len(ids(second))] == [1, 1]
        process.terminate()
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()


def test_servers_without_a_token_are_refused_in_one_sentence():
    environment = {name: value for name, value in os.environ.items() if name != "ABLATE_SERVER_TOKEN"}
    command = [sys.executable, "-m", "ablate.serve", "1", "0", "run=true", "experiment=nouscoder_14b", "objective=dapo"]
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert result.returncode == 2
    assert result.stderr.startswith("error: servers and their client share a secret token")


@pytest.mark.parametrize(
    ("given", "numbers", "seen"),
    [("4,5,GPU-7f,7", "2,3", "GPU-7f,7"), ("", "2,3", "2,3"), ("4,5", "none", "none"), ("4,5", "2", None)],
)
def test_a_server_of_several_nodes_takes_its_gpus_out_of_those_that_the_job_has(given, numbers, seen):
    script = Path(__file__).parents[2] / "slurm" / "server.sh"
    environment = {**os.environ, "ABLATE_ROOT": str(script.parents[1]), "CUDA_VISIBLE_DEVICES": given}
    command = ["bash", str(script), numbers, "sh", "-c", 'echo "$CUDA_VISIBLE_DEVICES"; kill -TERM $PPID; sleep 600']
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100)
    assert done.stdout.strip() == (seen or "")
    assert (done.returncode == 2) is (seen is None)
