"""Whatever the layout, the same weights, log-probabilities, gradients, updates and checkpoints; and transformers'.

Each model family has its model: ``qwen3`` ties its embeddings, ``qwen2`` has an output projection of its own.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import cases
import jobs
import layout_runs
import pytest
import torch
from collectives import first_disagreement
from layout_runs import largest_gap, largest_relative_gap

from ablate.errors import UserError
from ablate.models.families import FAMILIES, Family
from ablate.objectives.parts import PARTS
from ablate.trainer.batching import make_batch

JOBS = {  # (processes, whether they have the double of Transformer Engine); benchmarks/layouts has more
    (2, False): (
        *("qwen3=tp2", "qwen3=pp2", "qwen3=dp", "qwen3=dp_distributed", "qwen2=tp2_sp", "qwen2=tp2_sp_packed"),
        *("qwen3=cp2", "qwen2=cp2_packed"),
    ),
    (4, False): (
        *("qwen3=tp2_sp_pp2", "qwen2=tp2_distributed", "qwen3=cp2_pp2", "qwen2=cp2_tp2_sp_packed"),
        *("qwen3=cp2_distributed", "qwen2=cp4_full"),
    ),
    (2, True): ("qwen3=te_tp2_sp_packed_full", "qwen3=te_pp2_packed_onelayer"),
}
LIMIT_S = 1200
LAYOUTS = [name for names in JOBS.values() for name in names]


@pytest.fixture(scope="module")
def model_dirs(tiny_checkpoint: Path, qwen2_checkpoint: Path) -> dict[str, Path]:
    return {"qwen3": tiny_checkpoint, "qwen2": qwen2_checkpoint}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("checkpoints")


@pytest.fixture(scope="module")
def alone(model_dirs: dict[str, Path], checkpoints: Path) -> dict[str, dict[str, Any]]:
    """What one process finds, by model."""
    found = {}
    for model, model_dir in model_dirs.items():
        found[model] = layout_runs.run_layout(model_dir, cases.SINGLE, None)
        old_logp_BT, single = found[model]["logp"], checkpoints / model / "single"
        layout_runs.write_checkpoint(model_dir, cases.SINGLE, single, old_logp_BT)
        torch.save(old_logp_BT, checkpoints / model / "old_logp.pt")
        found[model]["resumed"] = layout_runs.resume(
            model_dir, cases.SINGLE, checkpoints / model / "single", old_logp_BT
        )
    return found


@pytest.fixture(scope="module")
def together(
    alone: dict[str, Any], model_dirs: dict[str, Path], checkpoints: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Any]]:
    """What jobs of two and of four processes find, by model and layout: one start of processes for many layouts."""
    found = {}
    for (size, has_engine), names in JOBS.items():
        out = tmp_path_factory.mktemp(f"{size}_ranks")
        words = [f"{checkpoints / m}={model_dirs[m]}={layout}" for m, layout in (name.split("=") for name in names)]
        job = jobs.start_forked_ranks(size, ["parity", *(["te"] if has_engine else []), *words], out)
        assert jobs.wait_for_ranks([job], out, LIMIT_S) == [0], jobs.logs(out)
        found |= {name: torch.load(out / f"{name.replace('=', '_')}.pt", weights_only=False) for name in names}
        found["calls", size, has_engine] = [
            torch.load(out / f"collectives{rank}.pt", weights_only=False) for rank in range(size)
        ]
    return found


@pytest.mark.parametrize("model", ["qwen3", "qwen2"])
def test_weights_from_hugging_face_come_back_bit_for_bit(alone, model_dirs, model):
    from safetensors.torch import load_file

    expected = load_file(model_dirs[model] / "model.safetensors")
    assert alone[model]["weights"].keys() == expected.keys()
    assert all(torch.equal(alone[model]["weights"][name], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize("name", LAYOUTS)
def test_weights_gathered_from_a_layout_are_the_checkpoint_s_bit_for_bit(alone, together, name):
    assert largest_gap(alone[name.split("=")[0]]["weights"], together[name]["weights"]) == 0


@pytest.mark.parametrize("model", ["qwen3", "qwen2"])
@pytest.mark.parametrize(
    ("factor", "betas"),
    [(1, {}), (2, {}), (2, {"beta_fast": 0.75, "beta_slow": 0.5})],
    ids=["context", "twice_the_context_by_yarn", "by_yarn_with_betas_of_the_model"],
)
def test_log_probability_and_entropy_are_transformers(model_dirs, tmp_path, model, factor, betas):
    model_dir = Path(shutil.copytree(model_dirs[model], tmp_path / "model"))
    values = json.loads((model_dir / "config.json").read_text())
    (model_dir / "config.json").write_text(json.dumps(values | {f"yarn_{name}": b for name, b in betas.items()}))
    check_logp(model_dir, 48, factor, betas)


@pytest.mark.parametrize(("family", "tied"), [("qwen3", False), ("qwen2", True)])
def test_a_family_s_other_form_of_the_output_projection_is_transformers_too(tmp_path, family, tied):
    from random_models import write_random_model
    from safetensors.torch import load_file

    model_dir = write_random_model(tmp_path, family, tied=tied)
    expected = load_file(model_dir / "model.safetensors")
    assert largest_gap(expected, check_logp(model_dir, cases.CONTEXT, 1, {})) == 0


def test_the_next_family_is_one_entry_of_the_table(tmp_path, monkeypatch):
    """Llama has neither Qwen3's norms nor Qwen2's biases; it is not supported, because nothing else here is tested."""
    from random_models import write_random_model

    model_dir = write_random_model(tmp_path, "llama", tied=False)
    with pytest.raises(UserError, match="choose one of qwen2"):
        cases.open_trainer(model_dir, cases.SINGLE)
    monkeypatch.setitem(FAMILIES, "llama", Family("Llama"))
    check_logp(model_dir, cases.CONTEXT, 1, {})


def check_logp(model_dir: Path, context: int, factor: int, betas: dict[str, float]) -> dict[str, torch.Tensor]:
    """Compare log-probabilities and entropies with transformers'; return the weights that the trainer holds."""
    batch = make_batch(cases.rollout_groups(), cases.objective_named("grpo"))
    trainer = cases.open_trainer(model_dir, cases.SINGLE, original_context=context, context_length=context * factor)
    logp_BT, entropy_BT = trainer.logp(batch)
    logit_BTV = transformers_logits(model_dir, batch.tokens_BS, context, factor, betas) / cases.TEMPERATURE
    expected_BTV = logit_BTV.log_softmax(dim=-1)
    expected_logp_BT = expected_BTV.gather(2, batch.tokens_BS[:, 1:, None])[..., 0] * batch.mask_BT
    expected_entropy_BT = -(expected_BTV.exp() * expected_BTV).sum(dim=-1) * batch.mask_BT
    torch.testing.assert_close(logp_BT, expected_logp_BT, atol=2e-5, rtol=0)
    torch.testing.assert_close(entropy_BT, expected_entropy_BT, atol=2e-5, rtol=0)
    return cases.gathered(trainer)


def transformers_logits(
    model_dir: Path, tokens_BS: torch.Tensor, context: int, factor: int, betas: dict[str, float]
) -> torch.Tensor:
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(model_dir)
    if factor > 1:
        yarn = {"rope_type": "yarn", "factor": float(factor), "original_max_position_embeddings": context, **betas}
        config.rope_parameters = {"rope_theta": config.rope_parameters["rope_theta"], **yarn}
        config.max_position_embeddings = context * factor
    model = AutoModelForCausalLM.from_pretrained(model_dir, config=config, dtype=torch.float32)
    with torch.no_grad():
        return model(tokens_BS).logits[:, :-1]


@pytest.mark.parametrize("name", LAYOUTS)
def test_log_probability_does_not_depend_on_the_layout(alone, together, name):
    expected, found = alone[name.split("=")[0]], together[name]
    torch.testing.assert_close(found["logp"], expected["logp"], atol=2e-5, rtol=0)
    torch.testing.assert_close(found["entropy"], expected["entropy"], atol=2e-5, rtol=0)


@pytest.mark.parametrize("name", LAYOUTS)
def test_positions_stretched_by_yarn_do_not_depend_on_the_layout(alone, together, name):
    expected, found = alone[name.split("=")[0]], together[name]
    assert not torch.allclose(expected["yarn_logp"], expected["logp"], atol=1e-3)
    torch.testing.assert_close(found["yarn_logp"], expected["yarn_logp"], atol=2e-5, rtol=0)


@pytest.mark.parametrize("objective", cases.OBJECTIVES)
@pytest.mark.parametrize("name", LAYOUTS)
def test_two_steps_do_not_depend_on_the_layout(alone, together, name, objective):
    expected, found = alone[name.split("=")[0]][objective], together[name][objective]
    for before, after in zip(expected["metrics"], found["metrics"], strict=True):
        assert after == pytest.approx(before, rel=2e-5, abs=2e-6)
    if "gradients" in found:
        assert largest_relative_gap(expected["gradients"], found["gradients"]) < 1e-5
    assert largest_gap(expected["weights"], found["weights"]) < 1e-6


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_selection_does_not_depend_on_the_layout(alone, together, name):
    """Each part of the slot, on the log-probabilities and entropies that the layout's own forward pass gave."""
    expected, found = alone[name.split("=")[0]], together[name]
    for part in PARTS["select"]:
        objective = cases.selecting(part)
        left, right = (cases.selected(objective, each["logp"], each["entropy"]) for each in (expected, found))
        assert right.weight_BT.equal(left.weight_BT), part
        assert part == "all" or 0 < left.selected_BT.sum() < left.mask_BT.sum(), part


def test_clipping_and_both_sides_of_the_ratio_are_at_work_in_these_cases(alone):
    for model in alone.values():
        for objective in cases.OBJECTIVES:
            first = model[objective]["metrics"][0]
            assert first["train/grad_norm"] > cases.OPTIM.clip_grad
            assert first["policy/clip_low"] > 0
            assert first["policy/clip_high"] > 0
            assert 0 < first["policy/rows_in_loss"] < 12


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_checkpoint_of_one_process_continues_under_any_layout(alone, together, name):
    expected, found = alone[name.split("=")[0]]["resumed"], together[name]["resumed"]
    assert found["extra"] == {"seen": {3: "x"}}
    assert largest_gap(expected["weights"], found["weights"]) == 0
    assert found["metrics"][0] == pytest.approx(expected["metrics"][0], rel=2e-5, abs=2e-6)
    assert largest_gap(expected["next_weights"], found["next_weights"]) < 1e-6


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_checkpoint_of_any_layout_continues_in_one_process_and_in_its_own(
    alone, together, model_dirs, checkpoints, name
):
    model, layout = name.split("=")
    expected = alone[model]["resumed"]
    back = layout_runs.resume(model_dirs[model], cases.SINGLE, checkpoints / model / layout, alone[model]["logp"])
    for found in (back, together[name]["resumed_own"]):
        assert largest_gap(expected["weights"], found["weights"]) < 1e-6
        assert largest_gap(expected["next_weights"], found["next_weights"]) < 1e-6


@pytest.mark.parametrize("packing", [False, True], ids=["padded", "packed"])
@pytest.mark.parametrize("tokens", [91, 200, 10_000], ids=["one_row_each", "some_rows_each", "all_rows_together"])
@pytest.mark.parametrize("objective", cases.OBJECTIVES)
def test_a_step_does_not_depend_on_the_micro_batch_split(alone, model_dirs, objective, tokens, packing):
    expected = alone["qwen3"][objective]
    parallel = replace(cases.SINGLE, max_tokens_per_micro_batch=tokens, packing=packing)
    trainer = cases.open_trainer(model_dirs["qwen3"], parallel)
    built = cases.objective_named(objective)
    metrics = trainer.update(cases.off_policy_batch(built, alone["qwen3"]["logp"]), built)
    assert metrics == pytest.approx(expected["metrics"][0], rel=2e-5, abs=2e-6)
    assert largest_relative_gap(expected["gradients"], cases.gathered_gradients(trainer)) < 1e-5


@pytest.mark.parametrize(("size", "has_engine"), JOBS)
def test_the_ranks_of_every_group_call_the_same_collectives_in_the_same_order(together, size, has_engine):
    calls = together["calls", size, has_engine]
    assert first_disagreement(calls) is None
    assert {"allreduce_", "send", "broadcast_"} <= {call.operation for call in calls[0]}


def test_a_missing_tensor_and_a_wrong_shape_are_named(model_dirs, tmp_path):
    from safetensors.torch import load_file, save_file

    shutil.copy(model_dirs["qwen3"] / "config.json", tmp_path)
    tensors = load_file(model_dirs["qwen3"] / "model.safetensors")
    norm = tensors.pop("model.norm.weight")
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=r"has no tensor model\.norm\.weight"):
        cases.open_trainer(tmp_path, cases.SINGLE)
    save_file(tensors | {"model.norm.weight": norm[1:].clone()}, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=r"model\.norm\.weight has shape \(31,\), but config\.json says \(32,\)"):
        cases.open_trainer(tmp_path, cases.SINGLE)
