"""Part e: every hostile program in every kind of sandbox, and a long mix of honest and hostile programs."""

from __future__ import annotations

import os
import random
import re
import runpy
import time
from collections import Counter
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

from omegaconf import OmegaConf

from ablate.config import VerifyConfig
from ablate.types import Checker, Problem, TestCase, Verdict, VerdictKind
from ablate.verify.local import backend as local
from ablate.verify.verifier import Verifier, open_verifier
from benchmarks.faults.runs import ROOT
from benchmarks.faults.table import Trial, TrialFile

HONEST = "a, b = map(int, input().split())\nprint(a + b)"
ADD = Problem("add", "", tuple(TestCase(f"{a} {a + 1}\n", f"{2 * a + 1}\n") for a in range(2)), "easy")
TARGET = Problem("contained", "", (TestCase("", "contained"), TestCase("1", "contained")), "easy")
SUMS = Problem("sums", "", (TestCase("5\n", "0 5\n"), TestCase("77\n", "0 77\n")), "easy", time_limit_s=5.0)
PATIENT = replace(TARGET, time_limit_s=5.0)  # for programs that meet another limit, or none, on a slow machine
NUM_HOSTILE_PER_HONEST = 500 / 10_000
OF_THE_HOST = re.compile(r"\{(port|abstract|secret|here)")
NOT_ROOT = "os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)"
SYSTEM_PYTHON = "/usr/bin/python3"
UNIFIED = Path("/sys/fs/cgroup/unified")  # where version 2 is mounted next to version 1
CPU_V2 = f"""from dataclasses import replace
from pathlib import Path
import os
make = supervisor.cgroups.make_group
def make_with_v2():
    group, sentence = make()
    if group.cpu != group.memory:
        group.cpu.rmdir()
    directory = Path("{UNIFIED}") / group.memory.name
    directory.mkdir(exist_ok=True)
    return replace(group, cpu=directory), sentence
supervisor.cgroups.make_group = make_with_v2
"""
# What every supervisor runs before it starts.
KINDS = {
    "this machine's own control groups": "",
    "CPU time counted by cgroup v2": CPU_V2,
    "no control group": "supervisor.cgroups.make_group = lambda: (None, 'none')",
    "rootless": f"import os; {NOT_ROOT}",
}


def settings(**changes: object) -> VerifyConfig:
    """Limits so low that every attack meets one soon; no cache."""
    low = {"time_limit_s": 0.4, "wall_factor": 2, "memory_limit_mib": 192, "output_limit_kib": 512, "max_processes": 24}
    low |= {"cache": False, "cache_dir": "unused", "retries": 0}
    conf = OmegaConf.load(ROOT / "conf" / "verify" / "local.yaml")
    return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(VerifyConfig), conf, low, changes))


def hostile_programs() -> dict[str, tuple[str, set[str]]]:
    """Programs by name, with the right kinds of verdict; without those that need a port or file of the host."""
    lists = runpy.run_path(str(ROOT / "tests" / "verify" / "hostile.py"))
    contained = {
        name: (text, {"accepted"}) for name, text in lists["CONTAINED"].items() if not OF_THE_HOST.search(text)
    }
    return {**lists["EXHAUSTING"], **contained}


def programs_aimed_at_checkers() -> tuple[Problem, dict[str, str]]:
    """A problem with a checker, and programs that aim at it."""
    lists = runpy.run_path(str(ROOT / "tests" / "verify" / "hostile.py"))
    return replace(SUMS, checker=Checker("python", (("checker.py", lists["SUM_CHECKER"]),))), lists["AT_CHECKERS"]


def run_attacks(file: TrialFile, count: int, seed: int, work: Path) -> None:
    """Every attack in each kind of sandbox, and an honest program after each; ``count`` attacks at most per kind."""
    start = local.START
    for kind, line in KINDS.items():
        if kind == "rootless":
            if os.getuid() != 0 or not Path(SYSTEM_PYTHON).exists():
                file.append(Trial("sandbox", f"attacks, {kind}", False, "untested", "needs root and a system Python"))
                continue
            local.sys.executable = SYSTEM_PYTHON  # another user may not be able to run ours
        if line == CPU_V2 and not os.access(UNIFIED, os.W_OK):
            file.append(Trial("sandbox", f"attacks, {kind}", False, "untested", "needs root and a second hierarchy"))
            continue
        local.START = start.replace("supervisor.main(", f"{line}\nsupervisor.main(")
        with open_verifier(settings(workers=1)) as verifier:
            print(f"{kind}: {verifier.backends[0].containment}")
            for name, (program, kinds) in list(hostile_programs().items())[:count]:
                meets_limit_of_time = bool(kinds & {"time_limit", "compile_error"})
                verdict = verifier.submit(TARGET if meets_limit_of_time else PATIENT, program).result()
                after = verifier.submit(ADD, HONEST).result()
                is_right = verdict.kind.value in kinds and after.passed
                outcome = "right, and the next honest program passed" if is_right else f"wrong: {name}"
                file.append(
                    Trial("sandbox", f"attacks, {kind}", True, outcome, "" if is_right else f"{verdict} {after}")
                )
            problem, aimed = programs_aimed_at_checkers()
            for name, program in list(aimed.items())[:count]:
                passed = verifier.submit(problem, program).result().passed
                after = verifier.submit(problem, "n = int(input())\nprint(1, n - 1)").result()
                is_right = after.passed and not passed
                outcome = (
                    "no false accept by a checker, and the next answer was accepted" if is_right else f"wrong: {name}"
                )
                file.append(Trial("sandbox", f"checkers, {kind}", True, outcome, "" if is_right else f"{after}"))
    local.START = start
    file.append(Trial("sandbox", "attacks, limits of cgroup v2", False, "untested", "this machine has cgroup v1"))


def run_mix(file: TrialFile, count: int, seed: int, work: Path) -> None:
    """``count`` honest programs with hostile ones among them, on two workers, in a drawn order."""
    draw = random.Random(seed)
    hostile = list(hostile_programs().items())
    num_hostile = round(count * NUM_HOSTILE_PER_HONEST)
    jobs: list[tuple[str, set[str]] | None] = [draw.choice(hostile)[1] for _ in range(num_hostile)] + [None] * count
    draw.shuffle(jobs)
    # An honest program gets the time that a busy machine needs; a hostile one meets low limits.
    started, wrong = time.monotonic(), Counter()
    with open_verifier(settings(workers=2, time_limit_s=1.0, wall_factor=4)) as verifier:
        futures = [(job, submit(verifier, job)) for job in jobs]
        for job, future in futures:
            note_if_wrong(wrong, job, future.result())
    wall_s = time.monotonic() - started
    speed = f"{len(jobs) / wall_s:.1f} programs/s at load {os.getloadavg()[0]:.1f}"
    detail = f"{speed}; {verifier.num_retries} retries; {dict(wrong)}"
    outcome = (
        f"{count} honest and {num_hostile} hostile programs, {sum(wrong.values())} wrong or infrastructure verdicts"
    )
    file.append(Trial("sandbox", "honest and hostile programs mixed", True, outcome, detail))


def submit(verifier: Verifier, job: tuple[str, set[str]] | None) -> Future[Verdict]:
    return verifier.submit(ADD, HONEST) if job is None else verifier.submit(replace(TARGET), job[0])


def note_if_wrong(wrong: Counter, job: tuple[str, set[str]] | None, verdict: Verdict) -> None:
    right = {VerdictKind.accepted.value} if job is None else job[1]
    if verdict.kind.value not in right:
        program = "honest" if job is None else job[0][:60]
        wrong[f"{program!r}: {verdict.kind.value} {verdict.detail}"] += 1
