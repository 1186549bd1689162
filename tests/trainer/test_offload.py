"""Megatron's optimizer with its state on the host (conf/parallel/gpu1_offload.yaml), on a CPU that stands in for a GPU.

Streams and pinned memory are left out. torch's sharded tensors read the device below what is pretended, so checkpoints
are written and read outside, but for what Megatron's optimizer does with them.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace

import cases
import pytest
import torch
from omegaconf import OmegaConf
from pretend_cuda import Sent, pretended_cuda

from ablate.cli import CONF_DIR
from ablate.errors import UserError
from ablate.trainer import cpu
from ablate.trainer.batching import make_batch
from ablate.trainer.optimizer import optimizer_config

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a real device")
PLAIN = cases.layout_named("bf16_distributed")
FIELDS = OmegaConf.to_container(OmegaConf.load(f"{CONF_DIR}/parallel/gpu1_offload.yaml"))["megatron"]
OBJECTIVE = cases.objective_named("grpo")
MM = torch.mm


class NoStream:
    """Does nothing, whatever it is asked."""

    def __getattr__(self, name):
        return lambda *_, **__: self


@pytest.fixture
def device(monkeypatch, tiny_checkpoint):
    """``with device():`` the process has a GPU."""
    cases.open_trainer(tiny_checkpoint, cases.SINGLE)  # joins the process group as the CPU does
    view, sent = cpu.torch_on_cpu(), Sent()
    for name in ("current_stream", "Stream"):
        monkeypatch.setattr(view.cuda, name, lambda *_: NoStream())
    monkeypatch.setattr(view.cuda, "stream", lambda _: contextlib.nullcontext())
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor)
    monkeypatch.setattr(torch, "mm", mm)
    return lambda: pretended_cuda(monkeypatch, sent)


def mm(left, right, *, out_dtype=None):
    """A CPU has no product of bf16 that is written in fp32."""
    return MM(left, right) if out_dtype is None else MM(left.to(out_dtype), right.to(out_dtype))


def update(trainer, times=1):
    for _ in range(times):
        batch = make_batch(cases.rollout_groups(), OBJECTIVE)
        trainer.update(replace(batch, old_logp_BT=trainer.logp(batch)[0]), OBJECTIVE, with_metrics=False)


def optimizer_on(device, trainer):
    """Let what Megatron's optimizers do while a checkpoint is read happen on the device."""
    for optimizer in getattr(trainer.optimizer, "chained_optimizers", [trainer.optimizer]):
        for name in ("load_state_dict", "_init_optimizer_states_with_dummy_values"):
            setattr(optimizer, name, inside(device, getattr(optimizer, name)))
    return trainer


def inside(device, work):
    def call(*args, **options):
        with device():
            return work(*args, **options)

    return call


def assert_equal(trainer, expected):
    weights = cases.gathered(trainer)
    assert all(torch.equal(weights[name], tensor) for name, tensor in expected.items())


def test_updates_and_a_resumed_run_are_those_of_the_optimizer_on_the_gpu(tiny_checkpoint, tmp_path, device):
    offloaded = replace(PLAIN, megatron=FIELDS)
    plain = cases.open_trainer(tiny_checkpoint, PLAIN)
    update(plain, times=3)
    expected = cases.gathered(plain)
    with device():
        trainer = cases.open_trainer(tiny_checkpoint, offloaded)
        assert type(trainer.optimizer.chained_optimizers[0].optimizer).__name__ == "HybridDeviceOptimizer"
        update(trainer, times=2)
    trainer.checkpoints.save(tmp_path, 2, {}, keep=1, best=None, facts=None, asynchronous=False)
    with device():
        update(trainer)
        resumed = cases.open_trainer(tiny_checkpoint, offloaded)
    assert_equal(trainer, expected)
    optimizer_on(device, resumed).checkpoints.load(tmp_path, 2)
    with device():
        update(resumed)
    assert_equal(resumed, expected)
    without = cases.open_trainer(tiny_checkpoint, PLAIN)
    without.checkpoints.load(tmp_path, 2)
    update(without)
    assert_equal(without, expected)


@pytest.mark.parametrize("layout", ["bf16", "distributed"])
def test_an_optimizer_that_megatron_cannot_move_is_refused(layout):
    with pytest.raises(UserError, match=r"set parallel\.distributed_optimizer=true and parallel\.precision=bf16"):
        optimizer_config(replace(cases.layout_named(layout), megatron=FIELDS), cases.OPTIM)


def test_without_transformer_engine_the_precision_aware_optimizer_needs_the_offload():
    with pytest.raises(UserError, match=r"Megatron says: .*requires FusedAdam from TransformerEngine"):
        optimizer_config(replace(PLAIN, megatron={"use_precision_aware_optimizer": True}), cases.OPTIM)
