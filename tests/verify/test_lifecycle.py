# ruff: noqa: E501 -- programs read best as they are
"""A failure of the sandbox itself is never a verdict on the program, and nothing outlives the verifier."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import CancelledError
from pathlib import Path

import pytest

from ablate.errors import UserError
from ablate.types import Problem, TestCase, VerdictKind
from ablate.verify.local import backend as local
from ablate.verify.verifier import open_verifier

SRC = Path(__file__).parents[2] / "src"
ADD = Problem("add", "", (TestCase("3 4\n", "7\n"), TestCase("30 40\n", "70\n")), "easy")
HONEST = "print(sum(map(int, input().split())))"
SLOW = "import time\ntime.sleep(1.5)\n" + HONEST
SAYS_MORE_OFTEN = "supervisor.ALIVE_EVERY_S = sys.modules['ablate.verify.local.container'].ALIVE_EVERY_S = 0.1"
ENDLESS = "import time\ntime.sleep(60)"


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def wait_until(holds, timeout_s: float = 200.0) -> bool:
    deadline = time.monotonic() + timeout_s
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.01)
    return holds()


def is_alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def has_test_running(verifier) -> bool:
    """bubblewrap -> its init -> server -> program process -> test."""
    pids, depth = [verifier.backends[0].process.pid], 0
    while pids and depth < 5:
        pids, depth = [child for pid in pids for child in children(pid)], depth + 1
    return bool(pids)


@pytest.fixture
def lone(make_config):
    with open_verifier(make_config(workers=1)) as opened:
        yield opened


def kill_container(verifier) -> None:
    os.kill(children(verifier.backends[0].process.pid)[0], signal.SIGKILL)


def kill_supervisor(verifier) -> None:
    os.kill(verifier.backends[0].process.pid, signal.SIGKILL)


@pytest.mark.parametrize("kill", [kill_container, kill_supervisor])
def test_a_killed_backend_is_replaced_and_the_program_verified_again(lone, kill):
    future = lone.submit(ADD, SLOW)
    assert wait_until(lambda: has_test_running(lone))
    kill(lone)
    assert future.result().kind is VerdictKind.accepted
    assert lone.num_retries == 1


@pytest.mark.parametrize("kill", [kill_container, kill_supervisor])
def test_without_retries_a_killed_backend_is_an_infrastructure_error(make_config, kill):
    with open_verifier(make_config(workers=1, retries=0)) as verifier:
        future = verifier.submit(ADD, ENDLESS)
        assert wait_until(lambda: has_test_running(verifier))
        kill(verifier)
        verdict = future.result()
        assert verdict.kind is VerdictKind.infrastructure_error
        assert verdict.first_failed is None
        assert verifier.submit(ADD, HONEST).result().passed


def test_a_supervisor_that_was_stopped_is_replaced(make_config, monkeypatch):
    sabotage(monkeypatch, SAYS_MORE_OFTEN)  # so that the one that takes its place is not lost on a busy machine
    monkeypatch.setattr(local, "SILENCE_S", 1.5)
    with open_verifier(make_config(workers=1, retries=1)) as verifier:
        stopped = verifier.backends[0].process.pid
        os.kill(stopped, signal.SIGSTOP)
        assert verifier.submit(ADD, HONEST).result().kind is VerdictKind.accepted
        assert not is_alive(stopped)


def test_a_supervisor_that_works_for_long_is_not_replaced(make_config, monkeypatch):
    sabotage(monkeypatch, SAYS_MORE_OFTEN)
    monkeypatch.setattr(local, "SILENCE_S", 3)
    with open_verifier(make_config(workers=1, retries=0)) as verifier:
        verdict = verifier.submit(ADD, f"import time\ntime.sleep(2)\n{HONEST}").result()
        assert verdict.kind is VerdictKind.accepted
        assert verdict.wall_s > local.SILENCE_S


def test_closing_ends_a_supervisor_that_was_stopped(make_config, monkeypatch):
    monkeypatch.setattr(local, "END_TIMEOUT_S", 0.2)
    verifier = open_verifier(make_config(workers=1))
    stopped = verifier.backends[0].process.pid
    below = descendants(stopped)
    os.kill(stopped, signal.SIGSTOP)
    verifier.close()
    assert wait_until(lambda: not any(is_alive(pid) for pid in [stopped, *below]))


def sabotage(monkeypatch, line: str) -> None:
    """Make every new supervisor run ``line`` before it starts."""
    broken = local.START.replace("supervisor.main(", f"{line}\nsupervisor.main(")
    monkeypatch.setattr(local, "START", broken)


FAULTS = {
    "no memory or disk for a test's files": (
        "def full(name, content=b''):\n    raise OSError(28, 'No space left on device')\nsupervisor.memory_file = full",
        HONEST,
        "No space left",
    ),
    "the sandbox does not answer in time": (
        "supervisor.longest_wait_s = lambda job: 0.3",
        ENDLESS,
        "did not answer",
    ),
    "a test's walls cannot be built": (
        "from ablate.verify.local import container\n"
        "container.SOURCES['walls.py'] = container.SOURCES['walls.py'].replace(b'subset=pid', b'subset=nonsense')",
        HONEST,
        "could not be confined",
    ),
    "a test's filter cannot be installed": (
        "from ablate.verify.local import container\n"
        "container.SOURCES['kernel.py'] = container.SOURCES['kernel.py'].replace(b'PR_SET_SECCOMP, 2', b'PR_SET_SECCOMP, 9')",
        HONEST,
        "could not be confined",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_of_the_machine_is_an_infrastructure_error(make_config, monkeypatch, name):
    line, program, words = FAULTS[name]
    sabotage(monkeypatch, line)
    with open_verifier(make_config(workers=1, retries=1)) as verifier:
        verdict = verifier.submit(ADD, program).result()
    assert verdict.kind is VerdictKind.infrastructure_error
    assert words in verdict.detail
    assert verifier.num_retries == 1


STARTS = {
    "a missing interpreter": "from dataclasses import replace\nfrom ablate.verify.local import sandbox_view\n"
    "find = sandbox_view.find_view\nsandbox_view.find_view = lambda others: replace(find(others), executable='/python/bin/nowhere')",
    "an end before the start": "sys.exit(3)",
}


@pytest.mark.parametrize("name", STARTS)
def test_a_sandbox_that_cannot_start_is_refused_in_one_sentence(make_config, monkeypatch, name):
    sabotage(monkeypatch, STARTS[name])
    with pytest.raises(UserError, match="never run without"):
        open_verifier(make_config())


def test_without_bubblewrap_nothing_is_run(make_config, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match="apt-get install bubblewrap"):
        open_verifier(make_config())


def test_limits_hold_without_control_groups(make_config, monkeypatch):
    sabotage(monkeypatch, "supervisor.cgroups.make_group = lambda: (None, 'none')")
    greedy = (
        "import os, time\nfor _ in range(20):\n    if os.fork() == 0:\n        x = bytearray(b'x' * (40 << 20))\n"
        "        time.sleep(60)\ntime.sleep(60)"
    )
    in_children = (
        "import os, time\nfor _ in range(8):\n    if os.fork() == 0:\n        x = bytearray(b'x' * (20 << 20))\n"
        "        time.sleep(0.5)\n        os._exit(0)\nfor _ in range(8): os.wait()\n"
    ) + HONEST
    shared = (
        "import os\nx = bytearray(60 << 20)\nx[::4096] = b'x' * len(x[::4096])\nif os.fork() == 0:\n    os._exit(x[0] - 120)\nos.wait()\n"
        + HONEST
    )
    with open_verifier(make_config(workers=1, memory_limit_mib=96)) as verifier:
        assert verifier.submit(ADD, greedy).result().kind is VerdictKind.memory_limit
        assert verifier.submit(ADD, in_children).result().kind is VerdictKind.memory_limit
        assert verifier.submit(ADD, "x = bytearray(1 << 30)").result().kind is VerdictKind.memory_limit
        assert verifier.submit(ADD, "import os\nwhile True: os.fork()").result().kind is VerdictKind.runtime_error
        assert verifier.submit(ADD, shared).result().passed


KILLED_VERIFIER = """
import sys, time
sys.path.insert(0, {tests!r})
from conftest import configured
from ablate.types import Problem, TestCase
from ablate.verify.verifier import open_verifier
verifier = open_verifier(configured(workers=2, time_limit_s=60))
problem = Problem("p", "", (TestCase("", ""),), "easy")
for _ in range(2):
    verifier.submit(problem, "import os, time\\nif os.fork() == 0: os.setsid()\\ntime.sleep(600)")
print(*[worker.process.pid for worker in verifier.backends], flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_everything_ends_with_the_verifier(number):
    script = KILLED_VERIFIER.format(tests=str(Path(__file__).parent))
    with subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background job of a script ignores it
    ) as holder:
        supervisors = [int(word) for word in holder.stdout.readline().split()]
        below = list(supervisors)
        try:
            assert wait_until(lambda: all(len(descendants(pid)) >= 6 for pid in supervisors))
            below += [pid for supervisor in supervisors for pid in descendants(supervisor)]
        finally:
            holder.send_signal(number)
    assert len(below) >= 14
    assert wait_until(lambda: not any(is_alive(pid) for pid in below))
    groups = [f"/sys/fs/cgroup/**/ablate-verifier-{pid}" for pid in supervisors]
    assert wait_until(lambda: not any(list(Path("/").glob(pattern.lstrip("/"))) for pattern in groups))


def descendants(pid: int) -> list[int]:
    try:
        direct = children(pid)
    except FileNotFoundError:
        return []
    return direct + [deeper for child in direct for deeper in descendants(child)]


def test_cancelling_a_running_program_frees_its_backend(lone):
    future = lone.submit(ADD, ENDLESS)
    assert wait_until(lambda: has_test_running(lone))
    lone.cancel(future)
    verdict = future.result()
    assert (verdict.is_infrastructure_error, verdict.detail, lone.num_retries) == (True, "cancelled", 0)
    assert lone.submit(ADD, HONEST).result().passed


def test_many_programs_pass_a_short_queue(make_config):
    with open_verifier(make_config(workers=2, queue_size=1)) as verifier:
        futures = [verifier.submit(ADD, HONEST) for _ in range(12)]
        assert [future.result().passed for future in futures] == [True] * 12


def test_a_cancelled_future_is_never_run(lone):
    running, waiting = lone.submit(ADD, SLOW), lone.submit(ADD, SLOW)
    assert waiting.cancel()
    assert running.result().passed


def test_closing_calls_off_what_runs_and_what_waits(make_config):
    verifier = open_verifier(make_config(workers=1))
    running, waiting = verifier.submit(ADD, ENDLESS), verifier.submit(ADD, ENDLESS)
    assert wait_until(lambda: has_test_running(verifier))
    pid = verifier.backends[0].process.pid
    verifier.close()
    assert running.result().is_infrastructure_error
    with pytest.raises(CancelledError):
        waiting.result()
    assert not is_alive(pid)
    with pytest.raises(RuntimeError, match="closed"):
        verifier.submit(ADD, HONEST)


NOT_ROOT = """
import sys
sys.path.insert(0, {src!r})
from ablate.types import TestCase
from ablate.verify.jobs import Job
from ablate.verify.local.backend import LocalBackend
worker = LocalBackend()
worker.start()
limits = dict(time_limit_s=2, wall_limit_s=9, memory_limit_mib=256, output_limit_kib=64, disk_limit_mib=64)
limits |= dict(max_processes=16, max_tests=None)
for program in ("print(3)", "import os\\nwhile True: os.fork()", "print(4)"):
    tests = (TestCase("", "3"),)
    job = Job(1, program, "p", "stdin", None, tests, None, comparison="tokens", container="rollout", **limits)
    print(worker.run(job).kind)
worker.stop()
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
@pytest.mark.skipif(not Path("/usr/bin/python3").exists(), reason="needs an interpreter that another user can run")
def test_another_user_than_root_can_verify():
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        shutil.copytree(SRC / "ablate" / "verify", Path(directory, "ablate", "verify"))
        for name in ("__init__.py", "errors.py", "types.py"):
            shutil.copy(SRC / "ablate" / name, Path(directory, "ablate", name))
        command = ["/usr/bin/python3", "-I", "-S", "-B", "-c", NOT_ROOT.format(src=directory)]
        done = subprocess.run(command, capture_output=True, text=True, user=65534, group=65534, extra_groups=[])
    assert done.stdout.split() == ["accepted", "runtime_error", "wrong_answer"], done.stderr
