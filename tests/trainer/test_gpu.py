"""What only a GPU shows: Transformer Engine's layers, bf16, FP8 and NCCL against the same model in fp32 on the CPU.

These tests have not run yet: the machine on which they were written has no GPU. The limits of bf16 are twice what bf16
loses on a CPU.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cases
import jobs
import layout_runs
import pytest
import torch

from ablate.trainer.batching import make_batch

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, and there is none"),
]
ENGINE = replace(cases.SINGLE, transformer_engine=True, precision="bf16", packing=True)
FORMS = {  # layout, mean gap of a log-probability in nats
    "fp32": (cases.SINGLE, 1e-4),
    "bf16": (replace(cases.SINGLE, precision="bf16"), 0.03),
    "transformer_engine": (ENGINE, 0.03),
    "transformer_engine_padded": (replace(ENGINE, packing=False), 0.03),
    "fp8": (replace(ENGINE, fp8="hybrid"), 0.3),
}


def expected_logp(model_dir: Path, tokens_BS: torch.Tensor) -> torch.Tensor:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32)
    with torch.no_grad():
        logp_BTV = (model(tokens_BS).logits[:, :-1] / cases.TEMPERATURE).log_softmax(dim=-1)
    return logp_BTV.gather(2, tokens_BS[:, 1:, None])[..., 0]


@pytest.mark.parametrize("form", FORMS)
def test_log_probabilities_are_transformers(tiny_checkpoint, form):
    parallel, limit_nats = FORMS[form]
    batch = make_batch(cases.rollout_groups(), cases.objective_named("gspo"))
    logp_BT, _ = cases.open_trainer(tiny_checkpoint, parallel).logp(batch)
    gap_BT = (logp_BT - expected_logp(tiny_checkpoint, batch.tokens_BS)).abs()[batch.mask_BT]
    assert gap_BT.mean() < limit_nats


@pytest.mark.parametrize("form", FORMS)
def test_a_step_moves_the_weights_in_the_direction_of_the_fp32_step(tiny_checkpoint, form):
    objective = cases.objective_named("gspo")
    batch = make_batch(cases.rollout_groups(), objective)
    gradients = []
    for parallel in (cases.SINGLE, FORMS[form][0]):
        trainer = cases.open_trainer(tiny_checkpoint, parallel)
        exact = replace(batch, old_logp_BT=trainer.logp(batch)[0])
        trainer.update(exact, objective)
        named = cases.gathered_gradients(trainer)
        gradients.append(torch.cat([named[name].float().flatten() for name in sorted(named)]))
    assert torch.nn.functional.cosine_similarity(*gradients, dim=0) > (0.9 if form == "fp8" else 0.99)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
@pytest.mark.parametrize("layout", ["tp2_sp", "pp2", "dp_distributed", "cp2", "cp2_packed"])
def test_two_gpus_over_nccl_agree_with_one(tiny_checkpoint, tmp_path, layout):
    expected = layout_runs.run_layout(tiny_checkpoint, cases.SINGLE, None)
    layout_runs.write_checkpoint(tiny_checkpoint, cases.SINGLE, tmp_path / "tied" / "single", expected["logp"])
    torch.save(expected["logp"], tmp_path / "tied" / "old_logp.pt")
    command = [layout_runs.__file__, str(tmp_path), str(tmp_path), f"tied={tiny_checkpoint}={layout}"]
    assert jobs.wait_for_ranks(jobs.start_ranks(2, command, tmp_path), tmp_path, 200) == [0, 0], jobs.logs(tmp_path)
    found = torch.load(tmp_path / f"tied_{layout}.pt", weights_only=False, map_location="cpu")
    torch.testing.assert_close(found["logp"], expected["logp"], atol=1e-4, rtol=0)
    for name in cases.OBJECTIVES:
        for before, after in zip(expected[name]["metrics"], found[name]["metrics"], strict=True):
            assert after == pytest.approx(before, rel=1e-3, abs=1e-4)
