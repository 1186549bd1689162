"""What a checkpoint knows of a run is all that the run needs to continue."""

from __future__ import annotations

import torch
from trainer.cases import rollout_groups

from ablate.records.rollouts import sampled_rows
from ablate.sampling import RolloutBatch
from ablate.session.state import RunState


def test_a_state_with_a_batch_that_waits_for_its_step_survives_a_checkpoint(tmp_path):
    ahead = RolloutBatch(rollout_groups(), {"rollout/pass_rate": 0.5}, {"position": 24})
    state = RunState(2, 1, {"position": 16}, {1: 0.25, 2: 0.5}, {"train/loss": -0.125}, ahead)
    torch.save(state.as_plain(), tmp_path / "extra.pt")
    again = RunState.of_plain(torch.load(tmp_path / "extra.pt", weights_only=True))
    assert again.as_plain().keys() == state.as_plain().keys()
    assert (again.step, again.stage, again.sampler, again.scores, again.unrecorded) == (
        *(2, 1, {"position": 16}, {1: 0.25, 2: 0.5}, {"train/loss": -0.125}),
    )
    assert (again.ahead.metrics, again.ahead.sampler) == (ahead.metrics, ahead.sampler)
    rows = [[row for group in batch.groups for row in sampled_rows(group)] for batch in (ahead, again.ahead)]
    assert rows[0] == rows[1]
    assert len(rows[0]) == 12
