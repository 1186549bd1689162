"""How fast the cores are that verify, by a fixed program, and what ``verify.time_scale`` makes of it.

A contest limits CPU time on machines of its own. The same limit on a core of half the speed fails programs that the
contest accepts, and on a faster one it accepts what the contest fails.
"""

from __future__ import annotations

import time
from dataclasses import replace
from functools import cache

from ablate.config import VerifyConfig
from ablate.errors import UserError
from ablate.types import Problem, TestCase
from ablate.verify.backend import Backend
from ablate.verify.jobs import Job, make_job, wall_limit_s

AUTO = "auto"
NUM_TRIALS = 3  # the fastest counts: other work on the machine slows a trial and speeds up none
PROGRAM = """
def work(count):
    counts, total = {}, 0
    values = [number * 7919 % 10007 for number in range(count)]
    for value in values:
        counts[value % 513] = counts.get(value % 513, 0) + value
        total ^= value * 31
    values.sort()
    text = " ".join(map(str, values))
    return total + len(text.split()) + sum(counts.values())
print(work(60_000))
"""
ANSWER = "300687658"


def speed_s(config: VerifyConfig) -> float | None:
    """CPU seconds of the fixed program on a core of this machine; None where programs run on other machines."""
    return measured_here_s() if config.backend == "local" else None


@cache
def measured_here_s() -> float:
    code = compile(PROGRAM, "speed", "exec")

    def trial_s() -> float:
        start = time.thread_time()
        exec(code, {"print": str})
        return time.thread_time() - start

    return min(trial_s() for _ in range(NUM_TRIALS))


def measured_by_s(backend: Backend, config: VerifyConfig) -> float:
    """CPU seconds of the fixed program where this backend runs programs.

    Raises:
        UserError: when it does not run there.
    """
    problem = Problem("speed", "", (TestCase("", ANSWER),), "easy", time_limit_s=60.0)
    verdicts = [backend.run(make_job(config, problem, PROGRAM)) for _ in range(NUM_TRIALS)]
    wrong = next((verdict for verdict in verdicts if not verdict.passed), None)
    if wrong is not None:
        raise UserError(
            f"verify.time_scale=auto could not measure the cores that verify ({wrong.kind.value}: {wrong.detail}): "
            "set verify.time_scale to a number"
        )
    return min(verdict.cpu_s for verdict in verdicts)


def time_scale(config: VerifyConfig, backend: Backend) -> float:
    """What limits of CPU time are multiplied by."""
    if config.time_scale != AUTO:
        return float(config.time_scale)
    seconds = speed_s(config)
    return (measured_by_s(backend, config) if seconds is None else seconds) / config.reference_speed_s


def scaled(job: Job, scale: float) -> Job:
    """The job with its limits on time multiplied; the wall limit keeps its margin."""
    if scale == 1:
        return job
    time_limit_s = scale * job.time_limit_s
    return replace(job, time_limit_s=time_limit_s, wall_limit_s=wall_limit_s(job.wall_factor, time_limit_s))
