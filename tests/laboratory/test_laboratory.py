"""The laboratory on a small recorded run: what it reads, what it measures, what it writes."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from omegaconf.errors import OmegaConfBaseException

from ablate.cli import objective_config
from ablate.data.tokenizer import VOCABULARY
from ablate.errors import UserError
from ablate.laboratory import AS_CONFIGURED, measures
from ablate.laboratory import __main__ as laboratory
from ablate.laboratory.recorded import recorded_batch, run_of
from ablate.objectives import build
from ablate.records.groups import cut_into_groups
from ablate.records.rollouts import read_step
from ablate.records.token_values import token_file
from ablate.trainer.batching import make_batch

FOUR = "[grpo,dapo,gspo,gspo_plus]"


@pytest.fixture(scope="module")
def results(recorded_run, tmp_path_factory):
    """One run of the command line, in a process of its own: the tidy rows, the rollouts, its folder and its output."""
    out = tmp_path_factory.mktemp("laboratory")
    code = (
        "import sys; from ablate.laboratory.__main__ import main; main(); "
        "print('forbidden:', [m for m in ('vllm', 'modal') if m in sys.modules])"
    )
    words = [f"rollouts={recorded_run}/rollouts", f"checkpoint={recorded_run}/checkpoints", f"objectives={FOUR}"]
    words.append("tokens=true")
    done = subprocess.run([sys.executable, "-c", code, *words, f"out={out}"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return pd.read_parquet(out / "laboratory.parquet"), pd.read_parquet(out / "rollouts.parquet"), out, done.stdout


def values(rows, measure, **where):
    part = rows[rows["measure"] == measure]
    for column, value in where.items():
        part = part[part[column] == value]
    return part


def test_it_writes_a_tidy_parquet_a_table_and_figures(results):
    rows, rollouts, out, _ = results
    assert set(rows.columns) == {"checkpoint", "step", "objective", "toggle", "measure", "bucket", "value"}
    assert set(rollouts.columns) == {"checkpoint", "step", "objective", "rollout", "length", "advantage", "mass"}
    assert len(rollouts) == 2 * 4 * 24  # checkpoints, objectives, rollouts
    for name in ("cosines", "mass_by_length", "ratios", "toggles"):
        assert (out / f"{name}.png").stat().st_size > 10_000
    assert "## Checkpoint 2, rollouts of step 2" in (out / "laboratory.md").read_text()


@pytest.mark.parametrize("name", ["grpo", "dapo", "gspo", "gspo_plus"])
def test_the_values_of_tokens_add_up_to_those_of_rollouts(results, name):
    rows, rollouts, out, _ = results
    tokens = pd.read_parquet(token_file(out, step=2, checkpoint=2))
    mass = rollouts[(rollouts["checkpoint"] == 2) & (rollouts["objective"] == name)]["mass"]
    shares = tokens[f"{name}/share"].map(lambda share: np.abs(share).sum())
    np.testing.assert_allclose(shares, mass, atol=1e-6)
    if name != "dapo":  # dapo leaves a group out, and a clip is counted over the rows in the loss
        clipped = np.concatenate(tokens[f"{name}/clip"])
        for side, measure in ((-1, "clip_low_tokens"), (1, "clip_high_tokens")):
            [share] = values(rows, measure, objective=name, toggle=AS_CONFIGURED, checkpoint=2)["value"]
            assert (clipped == side).mean() == pytest.approx(share, abs=1e-6)


def test_tokens_have_the_texts_and_log_probabilities_of_the_recorded_responses(results, recorded_run):
    tokens = pd.read_parquet(token_file(results[2], step=2, checkpoint=2))
    recorded = pd.read_parquet(recorded_run / "rollouts" / "step_00002.parquet")
    for mine, row in zip(tokens.itertuples(), recorded.itertuples(), strict=True):
        assert list(mine.tokens) == [VOCABULARY[token] for token in row.response_ids]
        np.testing.assert_allclose(mine.old_logp, row.old_logp)
        np.testing.assert_allclose(mine.rollout_logp, row.rollout_logp)
    assert list(tokens["rollout"]) == list(range(24))


def test_it_never_loads_the_engine(results):
    assert "forbidden: []" in results[3]


def test_each_checkpoint_meets_the_rollouts_it_was_just_trained_on(results):
    rows = results[0]
    assert set(zip(rows["checkpoint"], rows["step"], strict=True)) == {(1, 1), (2, 2)}


def test_ratios_are_off_policy_as_they_were_in_training(results):
    assert (values(results[0], "clip_is_live", toggle=AS_CONFIGURED)["value"] == 1).all()
    assert (values(results[0], "ratio_max", objective="grpo")["value"] > 1.001).all()


@pytest.mark.parametrize("space", ["cosine_logp", "cosine_parameters"])
def test_cosines_are_symmetric_and_at_most_1(results, space):
    part = values(results[0], space, toggle=AS_CONFIGURED, checkpoint=2)
    table = part.pivot(index="objective", columns="bucket", values="value")
    assert table.shape == (4, 4)
    off_diagonal = table.fillna(1.0)
    assert off_diagonal.equals(off_diagonal.T.rename_axis(index="objective", columns="bucket"))
    assert part["value"].between(-1 - 1e-9, 1 + 1e-9).all()


@pytest.mark.parametrize("measure", ["mass_by_length", "mass_by_position", "parameter_mass_by_length"])
def test_shares_of_the_gradient_sum_to_1(results, measure):
    part = values(results[0], measure, toggle=AS_CONFIGURED)
    sums = part.groupby(["checkpoint", "objective"])["value"].sum()
    assert len(sums) == 8
    assert sums.to_numpy() == pytest.approx(1.0, abs=2e-4)


def test_sequence_ratio_gives_every_rollout_mass_independent_of_its_length_and_token_mean_in_proportion(results):
    rollouts = results[1]
    for name, power in (("gspo", 0), ("gspo_plus", 1)):
        part = rollouts[(rollouts["objective"] == name) & (rollouts["checkpoint"] == 2) & (rollouts["mass"] > 0)]
        per_advantage = part["mass"] / part["advantage"].abs() / part["length"] ** power
        assert per_advantage.max() / per_advantage.min() < 1.5  # what is left is s_i itself


def test_a_toggle_that_is_already_on_is_not_measured_again(results):
    toggles = set(values(results[0], "loss", objective="dapo")["toggle"])
    assert "keep=all" in toggles
    assert "keep=mixed_outcomes" not in toggles
    assert "overlong=zero_advantage" not in toggles


def test_dynamic_sampling_leaves_out_the_group_with_one_outcome(results):
    rows = results[0]
    assert (values(rows, "rollouts_that_train", objective="dapo", toggle=AS_CONFIGURED)["value"] <= 18 / 24).all()


def test_recorded_rollouts_are_the_batch_that_was_trained_on(recorded_run):
    recorded = read_step(run_of(recorded_run / "rollouts"), 2)
    objective = build(objective_config("grpo"))
    batch = recorded_batch(recorded, objective)
    assert recorded.num_rollouts == batch.num_rows == 24
    assert [len(group.completions) for group in recorded.groups] == [6, 6, 6, 6]
    assert torch.equal(batch.mask_BT, make_batch(recorded.groups, objective).mask_BT)
    assert batch.old_logp_BT[batch.mask_BT].max() < 0
    assert (batch.old_logp_BT[~batch.mask_BT] == 0).all()


def test_a_problem_that_is_drawn_twice_in_a_row_is_two_groups(recorded_run):
    recorded = read_step(run_of(recorded_run / "rollouts"), 2)
    *_, before, last = recorded.groups
    assert before.problem.id == last.problem.id
    assert [each.sample for each in (*before.completions, *last.completions)] == list(range(12))


def test_groups_are_cut_by_their_number_and_not_by_their_problem():
    rows = [{"problem_id": "a", "group": number} for number in (0, 0, 1, 1)] + [{"problem_id": "b", "group": 2}]
    assert [len(group) for group in cut_into_groups(rows)] == [2, 2, 1]


def test_length_buckets_hold_equally_many_rows_and_cover_every_length():
    mask = torch.arange(8) < torch.tensor([1, 2, 3, 4, 5, 6, 7, 8])[:, None]
    buckets = measures.cut_buckets(mask, 4)
    assert measures.names_of(buckets.length_edges) == ["1-2", "3-4", "5-6", "7-8"]
    assert buckets.of_length(mask)[:, 0].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert buckets.of_position(mask)[7].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def lengths(*of_rows: int) -> torch.Tensor:
    return torch.arange(max(of_rows)) < torch.tensor(of_rows)[:, None]


def test_rows_that_were_cut_off_at_the_greatest_length_are_one_bucket_and_the_others_are_still_told_apart():
    buckets = measures.cut_buckets(lengths(*range(20, 29), *[89] * 31), 4)
    assert measures.names_of(buckets.length_edges) == ["1-22", "23-25", "26-28", "29-89"]
    few = measures.cut_buckets(lengths(20, 30, *[89] * 30), 4)
    assert measures.names_of(few.length_edges) == ["1-89"], "a bucket of one row says nothing about a length"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"rollouts": "nowhere"}, "is not inside a run"),
        ({"checkpoint": "nowhere"}, "checkpoint=nowhere does not exist: name a run"),
        ({"steps": "[7]"}, "has no rollouts of step 7: it has [1, 2]"),
        ({"steps": "[one]"}, "must be whole numbers"),
        ({"moment": "before"}, "moment=before is not one of after, during"),
        ({"laboratory.num_bin": "3"}, "num_bin"),
        ({"objectives": "[grpo,nope]"}, "objective 'nope' is unknown"),
    ],
)
def test_a_wrong_word_is_refused_in_one_sentence(monkeypatch, recorded_run, tmp_path, change, sentence):
    words = {"rollouts": recorded_run, "checkpoint": recorded_run, "objectives": "[grpo]", "out": tmp_path} | change
    monkeypatch.setattr(sys, "argv", ["laboratory", *(f"{key}={value}" for key, value in words.items())])
    with pytest.raises((UserError, OmegaConfBaseException)) as caught:  # run_main makes a sentence of either
        laboratory.main()
    assert sentence in str(caught.value)


def test_during_repeats_the_earlier_updates_and_looks_at_the_rows_of_the_last_one(recorded_run):
    """Continuing from checkpoint 1 to the end of step 2 this way gives the weights of checkpoint 2."""
    from omegaconf import OmegaConf

    from ablate.config import parse
    from ablate.laboratory.run import CheckpointPlace, batches_at
    from ablate.trainer.open import open_trainer
    from ablate.trainer.updates import training_part
    from ablate.warm_start import ensure_model

    run = run_of(recorded_run)
    config = parse(OmegaConf.load(run.config_path))
    objective, recorded = build(config.objective), read_step(run, 2)
    trainer = open_trainer(config, ensure_model(config))
    place = CheckpointPlace(run.checkpoints_path, 1, 2, "during")
    batch = batches_at(place, trainer, recorded, objective, config.seed, needs_entropy=False)(objective)
    assert batch.num_rows == 12
    assert batch.weight_BT.sum().item() == pytest.approx(1.0, abs=1e-5)
    trainer.update(training_part(batch, torch.arange(batch.num_rows), objective), objective)
    replayed = trainer.gather_weights(lambda weights: {name: tensor.clone() for name, tensor in weights})
    trainer.checkpoints.load(run.checkpoints_path, 2)
    loaded = trainer.gather_weights(lambda weights: {name: tensor.clone() for name, tensor in weights})
    for name, tensor in loaded.items():
        assert torch.equal(tensor, replayed[name]), name


def test_a_gradient_of_the_trainer_is_what_its_optimizer_would_step_along(recorded_run):
    from omegaconf import OmegaConf

    from ablate.config import parse
    from ablate.trainer.open import open_trainer
    from ablate.warm_start import ensure_model

    run = run_of(recorded_run)
    config = parse(OmegaConf.load(run.config_path))
    objective = build(config.objective)
    trainer = open_trainer(config, ensure_model(config))
    batch = recorded_batch(read_step(run, 1), objective)
    norm = trainer.gradient(batch, objective).norm().item()
    assert trainer.update(batch, objective)["train/grad_norm"] == pytest.approx(norm, rel=1e-5)
    after_a_step, again = trainer.gradient(batch, objective), trainer.gradient(batch, objective)
    assert torch.equal(after_a_step, again)  # nothing of the step is left in it
