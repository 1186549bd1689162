"""What only a GPU shows: Transformer Engine's layers, bf16, FP8 and NCCL against the same model in fp32 on the CPU.

These tests have not run yet: the machine on which they were written has no GPU. The limits of bf16 are twice what bf16
loses on a CPU. What they say about layouts holds there for the double of Transformer Engine (benchmarks/layouts).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cases
import jobs
import layout_runs
import pytest
import torch
from collectives import first_disagreement
from random_models import write_random_model

from ablate.trainer.batching import make_batch
from ablate.trainer.checkpoint.whole_weights import checkpoint_tensors

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, and there is none"),
]
FORMS = {  # layout of one GPU -> mean gap of a log-probability in nats
    "single": 1e-4,
    "bf16": 0.03,
    "te_bf16": 0.03,
    "te_packed_bf16": 0.03,
    "te_packed_full_bf16": 0.03,
    "te_packed_onelayer_bf16": 0.03,
    "te_packed_selective_bf16": 0.03,
    "te_packed_distributed_bf16": 0.03,
    "te_packed_bf16_fp8": 0.3,
}
SAVED = ("bf16", "te_packed_bf16", "te_packed_distributed_bf16")
IN_FP32 = ("tp2_sp", "pp2", "dp_distributed", "cp2", "cp2_packed")
IN_BF16 = (
    *("te_tp2_sp_packed_bf16", "te_tp2_sp_packed_full_bf16", "te_pp2_packed_onelayer_bf16"),
    *("te_packed_distributed_bf16", "te_cp2_packed_bf16"),
)


def needs_gpus(number: int) -> pytest.MarkDecorator:
    return pytest.mark.skipif(torch.cuda.device_count() < number, reason=f"needs {number} CUDA devices")


def expected_logp(model_dir: Path, tokens_BS: torch.Tensor) -> torch.Tensor:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32)
    with torch.no_grad():
        logp_BTV = (model(tokens_BS).logits[:, :-1] / cases.TEMPERATURE).log_softmax(dim=-1)
    return logp_BTV.gather(2, tokens_BS[:, 1:, None])[..., 0]


def flat(tensors: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.cat([tensors[name].float().flatten() for name in sorted(tensors)])


@pytest.mark.parametrize("form", FORMS)
def test_log_probabilities_are_transformers(tiny_checkpoint, form):
    batch = make_batch(cases.rollout_groups(), cases.objective_named("gspo"))
    logp_BT, _ = cases.open_trainer(tiny_checkpoint, cases.layout_named(form)).logp(batch)
    gap_BT = (logp_BT - expected_logp(tiny_checkpoint, batch.tokens_BS)).abs()[batch.mask_BT]
    assert gap_BT.mean() < FORMS[form]


@pytest.mark.parametrize("form", [form for form in FORMS if "distributed" not in form])
def test_a_step_moves_the_weights_in_the_direction_of_the_fp32_step(tiny_checkpoint, form):
    objective = cases.objective_named("gspo")
    batch = make_batch(cases.rollout_groups(), objective)
    gradients = []
    for parallel in (cases.SINGLE, cases.layout_named(form)):
        trainer = cases.open_trainer(tiny_checkpoint, parallel)
        exact = replace(batch, old_logp_BT=trainer.logp(batch)[0])
        trainer.update(exact, objective)
        gradients.append(flat(cases.gathered_gradients(trainer)))
    assert torch.nn.functional.cosine_similarity(*gradients, dim=0) > (0.9 if "fp8" in form else 0.99)


@pytest.mark.parametrize("asynchronous", [False, True], ids=["at_once", "asynchronous"])
@pytest.mark.parametrize("reader", SAVED)
@pytest.mark.parametrize("writer", SAVED)
def test_a_checkpoint_continues_under_other_layers_and_another_optimizer(
    tiny_checkpoint, tmp_path, writer, reader, asynchronous
):
    batch = make_batch(cases.rollout_groups(), cases.objective_named("grpo"))
    old_logp_BT = expected_logp(tiny_checkpoint, batch.tokens_BS) * batch.mask_BT
    layout_runs.write_checkpoint(tiny_checkpoint, cases.layout_named(writer), tmp_path, old_logp_BT, asynchronous)
    own, other = (
        layout_runs.resume(tiny_checkpoint, cases.layout_named(name), tmp_path, old_logp_BT)
        for name in (writer, reader)
    )
    assert layout_runs.largest_gap(own["weights"], other["weights"]) == 0
    assert other["metrics"][0] == pytest.approx(own["metrics"][0], rel=0.1, abs=0.01)
    start, end, other_end = (flat(found) for found in (own["weights"], own["next_weights"], other["next_weights"]))
    assert (other_end - end).norm() < 0.5 * (end - start).norm()  # weights in bf16 round the update away in part
    exported = checkpoint_tensors(tmp_path / "step_000001", tiny_checkpoint, cases.layout_named(writer), cases.CONTEXT)
    assert all(torch.equal(tensor, own["weights"][name]) for name, tensor in exported)


def run_on_gpus(size: int, kind: str, model_dir: Path, layout: str, out: Path) -> dict:
    """What a job of one process for each GPU finds; its ranks have called the same collectives."""
    command = [layout_runs.__file__, kind, str(out), f"{out / 'model'}={model_dir}={layout}"]
    assert jobs.wait_for_ranks(jobs.start_ranks(size, command, out), out, 200) == [0] * size, jobs.logs(out)
    calls = [torch.load(out / f"collectives{rank}.pt", weights_only=False) for rank in range(size)]
    assert first_disagreement(calls) is None
    return torch.load(out / f"model_{layout}.pt", weights_only=False, map_location="cpu")


def prepared(model_dir: Path, out: Path) -> dict:
    """What one process finds in fp32, and its checkpoints for others to continue."""
    alone = layout_runs.run_layout(model_dir, cases.SINGLE, None)
    for name in ("single", "single_bf16"):
        layout_runs.write_checkpoint(model_dir, cases.layout_named(name), out / "model" / name, alone["logp"])
    torch.save(alone["logp"], out / "model" / "old_logp.pt")
    return alone


@needs_gpus(2)
@pytest.mark.parametrize("layout", IN_FP32)
def test_two_gpus_over_nccl_agree_with_one(tiny_checkpoint, tmp_path, layout):
    expected = prepared(tiny_checkpoint, tmp_path)
    found = run_on_gpus(2, "parity", tiny_checkpoint, layout, tmp_path)
    torch.testing.assert_close(found["logp"], expected["logp"], atol=1e-4, rtol=0)
    for name in cases.OBJECTIVES:
        for before, after in zip(expected[name]["metrics"], found[name]["metrics"], strict=True):
            assert after == pytest.approx(before, rel=1e-3, abs=1e-4)


@needs_gpus(2)
@pytest.mark.parametrize("layout", IN_BF16)
def test_two_gpus_in_bf16_are_no_farther_from_fp32_than_one(tiny_checkpoint, tmp_path, layout):
    expected = prepared(tiny_checkpoint, tmp_path)
    found = run_on_gpus(2, "parity", tiny_checkpoint, layout, tmp_path)
    assert (found["logp"] - expected["logp"]).abs()[expected["logp"] != 0].mean() < FORMS["te_packed_bf16"]
    assert layout_runs.largest_gap(found["resumed_own"]["weights"], found["gspo_plus"]["weights"]) < 0.02


@needs_gpus(8)
def test_a_node_takes_every_step_of_a_run_in_the_layout_of_the_14b_model(tmp_path):
    shape = {"hidden_size": 320, "head_dim": 16, "num_attention_heads": 40, "num_key_value_heads": 8}
    model_dir = write_random_model(tmp_path / "qwen3", "qwen3", tied=False, **shape)
    found = run_on_gpus(8, "step", model_dir, "gpu8", tmp_path)
    assert found["extra"] == {"step": 1}
    assert layout_runs.largest_gap(found["weights"], found["resumed_weights"]) == 0
    first, second = found["metrics"]
    assert first["train/grad_norm"] > 0
    assert second["policy/entropy"] == pytest.approx(first["policy/entropy"], rel=0.2)
