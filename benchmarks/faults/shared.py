"""Part h: two tensor ranks and two CPU servers that share their machine take turns, and a process is killed meanwhile.

Every run must leave the records of the run in which the servers have devices of their own, byte for byte.
"""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.faults.runs import Attempt, records, run_directory, words_of
from benchmarks.faults.table import Trial, TrialFile
from benchmarks.overlap.__main__ import at, tiny_model
from benchmarks.overlap.servers import vllm_servers

MODE = "torchrun tp2"
POLL_S = 1.0
SMALL = ("rollout.engine.kv_cache_gib=0.125", "rollout.engine.silence_s=20", "rollout.engine.max_num_seqs=8")
SHARING = "rollout.engine.share_gpus=true"


@dataclass(frozen=True)
class Kill:
    """Who is killed at the ``number``-th beginning of a span; a killed leader is started again."""

    name: str
    span: str = ""
    number: int = 0
    of_server: bool = False


TRIALS = (
    Kill("nothing is killed"),
    Kill("the leader is killed while servers fall asleep", "sleep", 2),
    Kill("the leader is killed while sleeping servers wake", "hand_off", 3),
    Kill("a server is killed asleep", "update", 1, of_server=True),  # last: it stays away
)


def run_shared(file: TrialFile, count: int, seed: int, work: Path) -> None:
    """Every trial ``count`` times, each time with new servers; the plan is fixed."""
    for _ in range(count):
        logs = Path(tempfile.mkdtemp(prefix="fault-"))
        served = [*SMALL, "experiment=tiny", "setting=arithmetic", f"model.path={tiny_model()}"]
        with vllm_servers(2, served, logs) as urls:
            words = [*SMALL, *at(urls), f"model.path={tiny_model()}"]
            apart = logs / "apart"
            wait_for_end(Attempt(apart, apart / "attempt", MODE, tuple(words)))
            expected = records(run_directory(apart))
            for number, kill in enumerate(TRIALS):
                outputs = logs / str(number)
                outcome = outcome_of(kill, outputs, [*words, SHARING], urls)
                is_equal = records(run_directory(outputs)) == expected
                ended = "equal to servers with devices of their own" if is_equal else "not equal"
                file.append(Trial("shared", kill.name, outcome, ended, str(outputs)))


def outcome_of(kill: Kill, outputs: Path, words: Sequence[str], urls: Sequence[str]) -> bool:
    """Make the run; return whether the kill came inside its span."""
    attempt = Attempt(outputs, outputs / "attempt", MODE, tuple(words))
    is_hit, seen = not kill.span, 0
    while kill.span and attempt.process.poll() is None:
        seen += attempt.new_events(POLL_S).count(("begin", kill.span))
        if seen >= kill.number:
            is_hit = kill.span in attempt.open_spans
            os.kill(process_at(urls[1]) if kill.of_server else attempt.leader, signal.SIGKILL)
            break
    if kill.span and not kill.of_server:
        attempt.wait()
        attempt.end()
        attempt = Attempt(outputs, outputs / "again", MODE, tuple(words))
    wait_for_end(attempt)
    return is_hit


def wait_for_end(attempt: Attempt) -> None:
    if attempt.wait():
        raise RuntimeError(f"the run failed: {attempt.text()[-3000:]}")
    attempt.end()


def process_at(url: str) -> int:
    """The process of the server at this address."""
    port = url.rpartition(":")[2]
    pids = (int(entry.name) for entry in Path("/proc").glob("[0-9]*"))
    return next(pid for pid in pids if words_of(pid).rstrip().endswith(f"--port {port}"))
