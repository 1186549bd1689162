"""What a checkpoint knows of a run is all that the run needs to continue; a run that must stop is no failed run."""

from __future__ import annotations

import signal
from array import array
from dataclasses import fields, replace
from types import SimpleNamespace

import pytest
import torch
from trainer.cases import rollout_groups

from ablate.display import SilentDisplay
from ablate.errors import UserError
from ablate.process.preemption import Preempted
from ablate.records import RunDirectory
from ablate.sampling import RolloutBatch
from ablate.session import Session, UnderWay
from ablate.session.state import RunState
from ablate.session.under_way import Collection, Evaluation
from ablate.tracking import NoMirror


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
    ahead = [RolloutBatch(groups, {"rollout/pass_rate": 0.5}, {"position": position}) for position in (24, 32)]
    state = RunState(2, 1, {"position": 16}, {1: 0.25, 2: 0.5}, {"train/loss": -0.125}, tuple(ahead))
    torch.save(state.as_plain(), tmp_path / "extra.pt")
    assert RunState.of_plain(torch.load(tmp_path / "extra.pt", weights_only=True)) == state


def batch_of(step: int) -> Collection:
    return Collection(step, None)


def evaluation_of(step: int) -> Evaluation:
    return Evaluation(step, {}, [])


@pytest.mark.parametrize(
    ("lag", "under_way", "is_whole"),
    [
        (0, UnderWay(batch_of(6)), True),  # it will be sampled again, from the same weights
        (1, UnderWay(batch_of(7)), True),  # of the step after the next one
        (1, UnderWay(batch_of(6)), False),
        (2, UnderWay(batch_of(8)), True),
        (2, UnderWay(batch_of(7)), False),
        (1, UnderWay(batch_of(7), evaluation_of(5)), True),
        (1, UnderWay(None, evaluation_of(4)), False),  # else nobody would record step 4
    ],
)
def test_a_state_is_whole_once_it_has_its_batches_and_the_steps_before_it_are_recorded(lag, under_way, is_whole):
    assert under_way.is_whole(RunState(step=5), lag) == is_whole


def session_whose_engine_dies(directory, received_signals: list[int]) -> Session:
    """The leader's session; its engine's process ends while it takes weights."""

    def load_weights(context_length, version, weights):
        raise UserError("the engine's process ended without a word")

    sampling = SimpleNamespace(has_weights=lambda context_length, version: False, load_weights=load_weights)
    world = SimpleNamespace(broadcast=lambda value: value)
    trainer = SimpleNamespace(world=world, gather_weights=lambda sink: sink([]))
    return Session(
        config=None,
        run=RunDirectory(directory),
        objective=None,
        trainer=trainer,
        sampling=sampling,
        display=SilentDisplay(),
        mirror=NoMirror(),
        received_signals=received_signals,
    )


def test_a_signal_to_the_whole_group_during_a_weight_hand_off_asks_the_run_to_stop(tmp_path):
    with pytest.raises(Preempted):
        session_whose_engine_dies(tmp_path, [signal.SIGTERM]).update_engine((1, 0), 160)


def test_an_engine_that_dies_in_a_weight_hand_off_without_a_signal_fails_the_run(tmp_path):
    with pytest.raises(UserError, match="the engine's process ended"):
        session_whose_engine_dies(tmp_path, []).update_engine((1, 0), 160)
