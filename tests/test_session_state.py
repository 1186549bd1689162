"""What a checkpoint knows of a run is all that the run needs to continue."""

from __future__ import annotations

from array import array
from dataclasses import fields, replace

import torch
from trainer.cases import rollout_groups

from ablate.sampling import RolloutBatch
from ablate.session.state import RunState


def with_every_text(carrier):
    """The carrier with its own text in every field that may hold one, so that a field that is lost shows."""
    return replace(carrier, **{each.name: f"its {each.name}" for each in fields(carrier) if "str" in each.type})


def filled(group):
    """The group with no field at its default, as an engine's arrays and not as the tests' tuples."""
    return replace(
        group,
        problem=with_every_text(group.problem),
        completions=tuple(
            replace(with_every_text(each), response_ids=array("i", each.response_ids), logp=array("d", each.logp))
            for each in group.completions
        ),
        verdicts=tuple(replace(with_every_text(each), first_failed=3, cpu_s=0.5) for each in group.verdicts),
    )


def test_a_state_with_a_batch_that_waits_for_its_step_survives_a_checkpoint(tmp_path):
    groups = [filled(group) for group in rollout_groups()]
    ahead = RolloutBatch(groups, {"rollout/pass_rate": 0.5}, {"position": 24})
    state = RunState(2, 1, {"position": 16}, {1: 0.25, 2: 0.5}, {"train/loss": -0.125}, ahead)
    torch.save(state.as_plain(), tmp_path / "extra.pt")
    assert RunState.of_plain(torch.load(tmp_path / "extra.pt", weights_only=True)) == state
