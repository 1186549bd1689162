"""``rollout.groups_from=atropos``: the groups of a step come from run-api, in the order in which they were posted.

So such a run is not exactly resumable: a checkpoint resumes the weights, the optimizer and the step, and what comes
next depends on what the environments have posted meanwhile.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ablate.atropos.api import Api
from ablate.atropos.scored import to_group
from ablate.errors import UserError
from ablate.models.hf_config import read_hf_config
from ablate.rollout.collect import collect_stats
from ablate.sampling import RolloutBatch, Sampling
from ablate.types import Problem, RolloutGroup

PAUSE_S = 0.2  # between two questions for a batch that is not there yet


@dataclass
class AtroposSampling(Sampling):
    """``Sampling`` whose rollout batches come from a server. Evaluation is ours, with our engine and verifier."""

    run_dir: Path = Path()
    num_received: int = 0
    surplus: list[RolloutGroup] = field(default_factory=list)  # kept, and not yet trained on
    is_registered: bool = False

    @cached_property
    def api(self) -> Api:
        return Api(self.config.rollout.atropos.url)

    @cached_property
    def problems(self) -> dict[str, Problem]:
        """The run's training problems by their ids, without their tests."""
        return {problem.id: replace(problem, tests=()) for problem in self.train_tasks.problems}

    @cached_property
    def vocab_size(self) -> int:
        return read_hf_config(self.model_dir)["vocab_size"]

    def collect(self, state: dict[str, Any] | None, step: int, context_length: int) -> RolloutBatch:
        """Return the next groups that the objective keeps, and no state of a problem order.

        Raises:
            UserError: when no server answers, or no batch comes for ``rollout.atropos.silence_s``.
        """
        if not self.is_registered:
            self.register(step)
        wanted = self.config.rollout.prompts_per_step
        groups, drawn = self.surplus, list(self.surplus)
        while len(groups) < wanted:
            received = self.next_batch()
            drawn += received
            groups = groups + [group for group in received if self.keeps(group.rewards)]
        groups, self.surplus = groups[:wanted], groups[wanted:]
        return RolloutBatch(groups, collect_stats(drawn, groups, wanted).metrics(), {})

    def register(self, step: int) -> None:
        """Tell the server what this trainer wants, and that it waits: environments may register from then on."""
        config, rollout = self.config, self.config.rollout
        body = {
            "wandb_group": config.cell,
            "wandb_project": config.experiment,
            "batch_size": rollout.prompts_per_step * rollout.samples_per_prompt,
            "max_token_len": config.context.longest,
            "checkpoint_dir": str((self.run_dir / "checkpoints").resolve()),
            "save_checkpoint_interval": config.checkpoint.every,
            "starting_step": step - 1,
            "num_steps": config.context.num_steps,
        }
        self.api.call("POST", "/register", body)
        self.is_registered = True

    def next_batch(self) -> list[RolloutGroup]:
        """Wait for a batch: ``prompts_per_step`` groups, from any environment."""
        silence_s = self.config.rollout.atropos.silence_s
        deadline = time.monotonic() + silence_s
        while (batch := self.api.call("GET", "/batch")["batch"]) is None:
            if time.monotonic() > deadline:
                raise UserError(
                    f"no batch came from {self.api.url} for {silence_s:g} s: start an environment "
                    "(python -m ablate.atropos), or raise rollout.atropos.silence_s"
                )
            time.sleep(PAUSE_S)
        groups = []
        for scored in batch:
            groups.append(to_group(scored, self.problems, self.decode, self.num_received, self.vocab_size))
            self.num_received += 1
        wanted = self.config.rollout.samples_per_prompt
        if others := {len(group.completions) for group in groups} - {wanted}:
            raise UserError(
                f"an Atropos environment posted groups of {min(others)} samples, not of {wanted}: give it the group "
                "size rollout.samples_per_prompt"
            )
        return groups


def taking_from_api(sampling: Sampling, run_dir: Path) -> AtroposSampling:
    """The same problems, engine and verifier, with the rollout batches of a server."""
    return AtroposSampling(**{each.name: getattr(sampling, each.name) for each in fields(sampling)}, run_dir=run_dir)
