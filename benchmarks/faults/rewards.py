"""Part c: infrastructure errors on purpose; what a step trains on must be what the programs deserve.

The engine and the verifier are those of a run; only ``LocalBackend.run`` raises on purpose. Every kept rollout is
verified again by a verifier without faults. The report must name errors that depend on the program, and no others.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pandas as pd

from ablate.cli import compose
from ablate.config import parse
from ablate.sampling import Sampling, open_sampling
from ablate.types import Problem, RolloutGroup, Verdict
from ablate.verify.backend import BackendError
from ablate.verify.choices import BACKENDS
from ablate.verify.jobs import Job
from ablate.verify.local.backend import LocalBackend
from ablate.verify.verifier import open_verifier
from ablate.warm_start import ensure_model
from ablate_analysis.infrastructure import infrastructure_sentences
from benchmarks.faults.table import Trial, TrialFile

Fault = Callable[[Job, int, random.Random], bool]  # the job, how many attempts came before it, a draw
INTERVAL = 3.0  # standard errors of the difference: about 1 in 400 of equal rates lies outside
EVALUATIONS = 6
SLOW_CHARACTERS = 50  # a longer program stands for a slow one: about one in seven
FAULTS: dict[str, tuple[bool, Fault]] = {  # whether the errors are independent of the program
    "no errors": (True, lambda job, number, draw: False),
    "1 % of attempts": (True, lambda job, number, draw: draw.random() < 0.01),
    "10 % of attempts": (True, lambda job, number, draw: draw.random() < 0.10),
    "50 % of attempts": (True, lambda job, number, draw: draw.random() < 0.50),
    "a burst of 60 attempts in every 150": (True, lambda job, number, draw: number % 150 < 60),
    "every attempt of every fifth problem": (False, lambda job, number, draw: sum(job.problem_id.encode()) % 5 == 0),
    "every attempt of a long program": (False, lambda job, number, draw: len(job.program) > SLOW_CHARACTERS),
}


class FaultyBackend(LocalBackend):
    """The local backend, which fails when the chosen fault says so."""

    fault: Fault = staticmethod(lambda job, number, draw: False)
    draw = random.Random(0)
    numbers = itertools.count()

    def run(self, job: Job) -> Verdict:
        if type(self).fault(job, next(self.numbers), self.draw):
            raise BackendError("injected")
        return super().run(job)


def run_rewards(file: TrialFile, count: int, seed: int, work: Path) -> None:
    """Collect ``count`` steps under each fault that is not in the file yet; compare the rewards with the true ones."""
    done = {trial.fault for trial in file.read() if trial.part == "rewards"}
    BACKENDS["faulty"] = FaultyBackend
    small = ["rollout.prompts_per_step=8", "rollout.samples_per_prompt=4", "eval.samples_per_problem=1"]
    config = parse(compose([*small, "eval.pass_at=[1]", "eval.contexts=[{length:160,every:1}]"]))
    faulty = replace(config.verify, backend="faulty", cache=False)
    rates: dict[str, list[float]] = {}
    with open_verifier(faulty) as verifier, open_verifier(replace(config.verify, cache=False)) as honest:
        sampling = open_sampling(config, ensure_model(config), verifier)
        problems = {problem.id: problem for problem in sampling.train_tasks.problems}
        for name, (is_independent, fault) in FAULTS.items():
            if name in done and name != "no errors":  # every other rate is compared with that without errors
                continue
            FaultyBackend.fault, FaultyBackend.numbers = staticmethod(fault), itertools.count()
            kept, lost = [], 0
            for step in range(count):
                batch = sampling.collect(None, step, config.context.longest)
                kept += batch.groups
                lost += int(batch.metrics["rollout/num_groups_failed"])
            rates[name] = [sum(verdict.passed for verdict in group.verdicts) / len(group.verdicts) for group in kept]
            invented = sum(num_invented(honest, problems[group.problem.id], group) for group in kept)
            said = compared(rates[name], rates["no errors"])
            named = "named in the report" if is_named(sampling, config.context.longest) else "not named in the report"
            cause = "independent of the program" if is_independent else "dependent on the program"
            outcome = f"{cause}: {invented} invented rewards, {said}, {named}"
            detail = f"{len(kept)} groups kept, {lost} dropped, {mean(rates[name]):.3f} pass"
            if name not in done:
                file.append(Trial("rewards", name, True, outcome, detail))


def num_invented(honest, problem: Problem, group: RolloutGroup) -> int:
    """Rollouts of a kept group whose verdict is not that of a verifier without faults."""
    texts = [completion.text for completion in group.completions]
    futures = [honest.submit_answer(problem, text) for text in texts]
    pairs = zip(group.verdicts, futures, strict=True)
    return sum(verdict.kind is not future.result().kind for verdict, future in pairs)


def is_named(sampling: Sampling, context: int) -> bool:
    """Whether the report, after some evaluations under this fault, says that the errors depend on the program."""
    rows = [asdict(row) for step in range(EVALUATIONS) for row in sampling.evaluate(step, context)]
    no_metrics = pd.DataFrame({"name": [], "value": []})
    sentences = infrastructure_sentences(pd.DataFrame(rows).assign(run="faulty"), no_metrics)
    return any("depend on the program" in sentence for sentence in sentences)


def compared(rates: list[float], expected: list[float]) -> str:
    """Whether the mean pass rate of groups differs from that without errors by more than chance."""
    if not rates:
        return "no group kept"
    error = math.sqrt(variance(rates) / len(rates) + variance(expected) / len(expected))
    is_inside = abs(mean(rates) - mean(expected)) <= INTERVAL * error
    return f"pass rate {'within' if is_inside else 'outside'} its interval"


def mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def variance(values: list[float]) -> float:
    center = mean(values)
    return sum((value - center) ** 2 for value in values) / max(len(values) - 1, 1)
