"""Part a: SIGKILL the leader of real runs inside a span, look at what is left, start them again, compare the records.

One chain is one run that is killed a few times and then finished. So every kill also tests how the run continued after
the kill before it; the chain's last row says whether its records equal those of an unbroken run.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from benchmarks.faults.runs import (
    DEADLINE_S,
    MODES,
    PARENTS,
    Attempt,
    Remains,
    records,
    remains_of,
    run_directory,
    shared_memory,
)
from benchmarks.faults.table import Trial, TrialFile, code_version

KILLS_PER_CHAIN = 8
LATEST = 0.8  # of a span: a kill after the end is a miss, and an evaluation whose samples were kept is a shorter one
POLL_S = 1.0  # how often it looks whether the run has ended; a span wakes it at once
# The span at whose beginning a kill is due; a kill that comes before its end is a hit.
TARGETS = {
    "engine start": "engine",
    "weight hand-off": "hand_off",
    "sampling": "wait_batch",
    "update": "update",
    "evaluation": "evaluate",
    "record writing": "records",
    "checkpoint write": "checkpoint",
}


def run_kills(file: TrialFile, num_kills: int, seed: int, work: Path, modes: Sequence[str] = tuple(MODES)) -> None:
    """Run chains until ``num_kills`` more kills are in the file."""
    draw = random.Random(f"{seed}/{time.time_ns()}")
    done = 0
    while done < num_kills:
        mode = choose_mode(file, modes, draw)
        done += run_chain(file, mode, min(KILLS_PER_CHAIN, num_kills - done), draw, work)


def unbroken(mode: str, work: Path) -> dict[str, bytes]:
    """The records of a run of this mode without faults; made once for each version of the code."""
    return whole(unbroken_outputs(mode, work), mode, may_fork=False)


def whole(outputs: Path, mode: str, may_fork: bool) -> dict[str, bytes]:
    """The records of the run without faults in ``outputs``; made if they are not there."""
    if run_directory(outputs).status != "done":
        scratch = Path(tempfile.mkdtemp(prefix="fault-"))
        attempt = Attempt(outputs, scratch, mode, forked_from(outputs.parent, mode), may_fork=may_fork)
        if attempt.wait():
            raise RuntimeError(f"the unbroken run failed: {attempt.text()[-2000:]}")
        attempt.end()
        shutil.rmtree(scratch)
    return records(run_directory(outputs))


def forked_from(root: Path, mode: str) -> tuple[str, ...]:
    """The overrides that fork the run without faults of another mode, which is made below ``root`` first."""
    if mode not in PARENTS:
        return ()
    outputs = root / PARENTS[mode].replace(" ", "_")
    whole(outputs, PARENTS[mode], may_fork=False)
    return f"fork.run={run_directory(outputs).path}", "fork.step=1"


def unbroken_outputs(mode: str, work: Path) -> Path:
    return work / "unbroken" / code_version() / mode.replace(" ", "_")


def span_seconds(mode: str, work: Path, name: str) -> float:
    """How long a span of this name lasted in a run without faults, and started like those that are
    killed. The first span of the engine is its start; the first of the others may contain an import or a start, so the
    shortest one counts. An asynchronous checkpoint takes about as long as one that the run waits for.
    """
    if name == TARGETS["checkpoint write"] and mode == "asynchronous checkpoints":
        mode = "single process"
    outputs = unbroken_outputs(mode, work)
    if not MODES[mode][0]:
        outputs = outputs.with_suffix(".forked")
        whole(outputs, mode, may_fork=True)
    spans = run_directory(outputs).trace.spans()
    seconds = [span["dur"] / 1e6 for span in spans if span["name"] == name and span["tid"] == 0]
    return seconds[0] if name == "engine" else min(seconds)


def run_chain(file: TrialFile, mode: str, num_kills: int, draw: random.Random, work: Path) -> int:
    """Kill one run ``num_kills`` times, finish it, and note each kill with the end of its chain."""
    expected = unbroken(mode, work)
    outputs = Path(tempfile.mkdtemp(prefix="fault-"))
    overrides = forked_from(unbroken_outputs(mode, work).parent, mode)
    num_done = 0
    problem = None
    for number in range(num_kills):
        target = choose_target(file, mode, draw)
        delay_s = draw.random() ** 2 * LATEST * span_seconds(mode, work, TARGETS[target])
        attempt = Attempt(outputs, outputs / f"attempt{number}", mode, overrides, may_fork=True)
        killed = kill_in(attempt, target, delay_s)
        if killed is None:  # the run ended first: there is nothing left to kill
            problem = refusal(attempt)
            break
        is_hit, remains = killed
        num_done += 1
        detail = f"no process after {remains.clean_s:.1f} s; {'; '.join(remains.left)}"
        file.append(Trial("kills", f"{target}, {mode}", is_hit, remains.outcome, detail))
        attempt.end()
    final = Attempt(outputs, outputs / "last", mode, overrides, may_fork=True)
    outcome = "not continued" if final.wait() else "not equal"
    final.end()
    if records(run_directory(outputs)) == expected:
        outcome = "equal to an unbroken run"
        shutil.rmtree(outputs)
    else:
        problem = final.text()[-1500:]
    file.append(
        Trial("kills", f"a run after its last kill, {mode}", True, outcome, f"{num_done} kills; {problem or ''}")
    )
    return max(num_done, 1)


def refusal(attempt: Attempt) -> str | None:
    """What a run that ended by itself said, unless it simply finished."""
    return None if attempt.wait() == 0 else attempt.text()[-1500:]


def choose_mode(file: TrialFile, modes: Sequence[str], draw: random.Random) -> str:
    """One of the two modes that have had the fewest kills."""
    kills = Counter(mode for trial in file.read() for mode in modes if is_kill(trial) and trial.fault.endswith(mode))
    return draw.choice(sorted(modes, key=lambda mode: (kills[mode], draw.random()))[:2])


def is_kill(trial: Trial) -> bool:
    return trial.part == "kills" and trial.fault.partition(",")[0] in TARGETS


def choose_target(file: TrialFile, mode: str, draw: random.Random) -> str:
    """A target with few hits so far is drawn more often."""
    hits = Counter(trial.fault.partition(",")[0] for trial in file.read() if trial.part == "kills" and trial.is_hit)
    few = sorted(TARGETS, key=lambda target: (hits[target], draw.random()))
    return draw.choice(few[:3])


def kill_in(attempt: Attempt, target: str, delay_s: float) -> tuple[bool, Remains] | None:
    """SIGKILL the leader ``delay_s`` after the target's span began; None if the run ended before that.

    Returns:
        Whether the span was open when the process died, and what was left two seconds later.
    """
    shm_before = shared_memory()
    deadline = time.monotonic() + DEADLINE_S
    with ahead_of_the_run():  # the shortest spans last a millisecond
        while attempt.process.poll() is None and time.monotonic() < deadline:
            attempt.new_events(POLL_S)
            if TARGETS[target] in attempt.open_spans:
                break
        else:
            return None
        time.sleep(delay_s)
        os.kill(attempt.leader, signal.SIGSTOP)  # it starts no child while its children are listed
    before = attempt.processes()
    put_first(before)
    os.kill(attempt.leader, signal.SIGKILL)
    killed_at = time.monotonic()
    remains = remains_of(attempt, before, shm_before, killed_at)
    attempt.new_events()
    is_hit = TARGETS[target] in attempt.open_spans
    if target == "checkpoint write":  # an asynchronous one goes on after its span
        is_hit = is_hit or any(run_directory(attempt.outputs).checkpoints_path.glob("*.partial"))
    return is_hit, remains


def put_first(pids: Iterable[int]) -> None:
    """As root: give these processes priority, so that other load does not lengthen their shutdown."""
    for task in [task for pid in pids for task in Path(f"/proc/{pid}/task").glob("*")] if os.getuid() == 0 else ():
        with suppress(OSError):  # it has ended
            os.setpriority(os.PRIO_PROCESS, int(task.name), -20)


@contextmanager
def ahead_of_the_run() -> Iterator[None]:
    """As root: this process is scheduled before all others, so that it is not late on a busy machine."""
    if os.getuid() == 0:
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(1))
    try:
        yield
    finally:
        if os.getuid() == 0:
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
