"""A recorded run: two steps on random responses, made by the real trainer and written in the run's own format."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

NUM_GROUPS, GROUP_SIZE = 4, 6


@pytest.fixture(scope="session")
def recorded_run(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Path) -> Path:
    """The folder of a GRPO run with rollouts of steps 1 and 2 and a checkpoint after each.

    Responses are random tokens, verdicts a coin, a response of 60 tokens or more is truncated; one group has a single
    outcome. Old log-probabilities are the trainer's, the engine's differ from them by a little noise.
    """

    from omegaconf import OmegaConf

    from ablate.cli import compose
    from ablate.config import parse
    from ablate.objectives import build
    from ablate.records import RunDirectory
    from ablate.records.rollouts import rows_of_step
    from ablate.trainer.batching import make_batch, rows_of_updates
    from ablate.trainer.trainer import Trainer
    from ablate.trainer.updates import rows_without_own_pass, train_on, with_old_policy

    out = tmp_path_factory.mktemp("recorded")
    values = compose(
        [
            f"model.path={tiny_checkpoint}",
            f"paths.outputs={out}",
            "context.length=120",
            "context.steps=2",
            "optim.lr=2e-6",
        ]
    )
    config = parse(values)
    run = RunDirectory(out / "scratch" / "grpo" / "seed0")
    run.claim(OmegaConf.to_yaml(OmegaConf.masked_copy(values, [k for k in values if k != "hydra"]), resolve=True), [])
    objective = build(config.objective)
    trainer = Trainer(
        tiny_checkpoint,
        config.model,
        config.parallel,
        config.optim,
        context_length=120,
        total_updates=4,
        temperature=config.rollout.temperature,
    )
    for step in (1, 2):
        groups = random_groups(random.Random(step))
        batch = make_batch(groups, objective)
        parts = rows_of_updates(batch.num_rows, 2, seed=step)
        batch = with_old_policy(
            trainer, batch, rows_without_own_pass(batch, parts, objective, for_records=True), objective
        )
        _, batch = train_on(trainer, batch, parts, objective, is_on_policy=True)
        run.steps.write_rollouts(step, rows_of_step(step, groups, batch, parts))
        trainer.checkpoints.save(run.checkpoints_path, step, {"step": step}, keep=5, best=None)
    return run.path


def random_groups(rng: random.Random) -> list:
    from ablate.types import Completion, Problem, RolloutGroup, Verdict, VerdictKind

    groups = []
    for index in range(NUM_GROUPS):
        is_again = index == NUM_GROUPS - 1  # the problem of the group before: its samples continue the count
        problem = Problem(f"problem{index - is_again}", statement="", tests=(), difficulty="easy")
        prompt = tuple(rng.randrange(4, 100) for _ in range(rng.randrange(5, 20)))
        completions, verdicts = [], []
        for sample in range(is_again * GROUP_SIZE, (1 + is_again) * GROUP_SIZE):
            length = rng.choice((3, 8, 20, 40, 60, 90))
            response = tuple(rng.randrange(4, 100) for _ in range(length))
            logp = tuple(-4.6 + rng.gauss(0.0, 0.3) for _ in range(length))
            completions.append(Completion(problem.id, sample, sample, prompt, response, logp, "", length < 60))
            passed = index > 0 and rng.random() < 0.5
            kind = VerdictKind.accepted if passed else VerdictKind.wrong_answer
            verdicts.append(Verdict(kind, 10 * passed, 10, None if passed else 0, 0.0, 0.0, 0.0))
        groups.append(RolloutGroup(problem, tuple(completions), tuple(verdicts)))
    return groups
