"""On a device of its own the trainer leaves no tensor behind on the CPU, and hands results back where batches live.

Checkpoints are left out: torch's sharded tensors read the device below what is pretended here.
"""

from __future__ import annotations

from dataclasses import replace

import cases
import pytest
import torch
from pretend_cuda import CUDA, pretended_cuda

from ablate.trainer.batching import make_batch
from ablate.trainer.model.model_input import model_input
from ablate.trainer.parallel.world import threads_of_rank

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a real device: tests/trainer/test_gpu.py")
LAYOUTS = {
    "padded": cases.SINGLE,
    "packed": replace(cases.SINGLE, packing=True),
    "distributed_optimizer": replace(cases.SINGLE, distributed_optimizer=True),
    "full_recompute": replace(cases.SINGLE, recompute="full"),
}


@pytest.fixture
def device(monkeypatch, tiny_checkpoint):
    cases.open_trainer(tiny_checkpoint, cases.SINGLE)  # joins the process group as the CPU does
    with pretended_cuda(monkeypatch):
        yield CUDA


def test_the_pretended_device_refuses_what_a_gpu_refuses(device):
    there, here = torch.ones(3, device=device), torch.ones(3)
    assert there.device == device
    assert there.is_cuda
    assert (there * 2).sum().device == device
    assert there.cpu().device == here.device == torch.device("cpu")
    assert (there * torch.tensor(2.0)).device == device
    with pytest.raises(RuntimeError, match="are on the CPU, the others on cuda:0"):
        there + here
    with pytest.raises(RuntimeError, match="are on the CPU, the others on cuda:0"):
        there[:2].index_select(0, torch.tensor([0]))
    with pytest.raises(TypeError, match="numpy"):
        there.numpy()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_log_probabilities_and_steps_are_those_of_the_cpu(request, tiny_checkpoint, layout):
    here = steps(tiny_checkpoint, LAYOUTS[layout])
    request.getfixturevalue("device")
    there = steps(tiny_checkpoint, LAYOUTS[layout])
    assert there["devices"] == {"model": "cuda", "logp": "cpu", "gradient": "cpu", "weights": "cuda"}
    assert there["metrics"] == here["metrics"]
    assert torch.equal(there["logp"], here["logp"])


def steps(model_dir, parallel):
    """What a run asks of the trainer, once each."""
    objective = cases.objective_named("gspo_plus")
    batch = make_batch(cases.rollout_groups(), objective)
    trainer = cases.open_trainer(model_dir, parallel)
    logp_BT, _ = trainer.logp(batch)
    batch = replace(batch, old_logp_BT=logp_BT, ref_logp_BT=trainer.reference_logp(batch))
    metrics = [trainer.update(batch, objective) for _ in range(2)]
    gradient = trainer.gradient(batch, objective)
    _, weight = trainer.gather_weights(next)
    parameter = next(trainer.model.parameters())
    return {
        "metrics": metrics,
        "logp": trainer.logp(batch)[0],
        "devices": {
            "model": parameter.device.type,
            "logp": logp_BT.device.type,
            "gradient": gradient.device.type,
            "weights": weight.device.type,
        },
    }


@pytest.mark.parametrize(("te", "where"), [(False, "cpu"), (True, "cuda")])
def test_the_bounds_of_packed_rows_are_where_the_layers_read_them(device, te, where):
    """Megatron's layers and ours read them as numbers, in every layer: on a GPU each would wait for the device."""
    batch = make_batch(cases.rollout_groups(), cases.objective_named("grpo"))
    batch = replace(batch, tokens_BS=batch.tokens_BS.to(device), mask_BT=batch.mask_BT.to(device))
    packed = model_input(batch, replace(LAYOUTS["packed"], transformer_engine=te)).packed
    assert packed.cu_seqlens_q.device.type == packed.cu_seqlens_kv_padded.device.type == where


def test_the_ranks_of_a_node_share_its_cpus_next_to_their_gpus(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(32))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")
    assert [threads_of_rank(wanted, CUDA) for wanted in (1, 4, 8)] == [1, 4, 4]
    assert threads_of_rank(8, torch.device("cpu")) == 8  # exactly: the order of a sum may depend on it
