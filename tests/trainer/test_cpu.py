"""What Megatron sees of CUDA on a CPU, and that nobody else sees it."""

from __future__ import annotations

import os
import subprocess
import sys

import cases
import pytest
import torch

from ablate.trainer import cpu

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="the mapping is applied only without CUDA")


def test_outside_megatron_torch_is_as_it_was(tiny_checkpoint):
    cases.open_trainer(tiny_checkpoint, cases.SINGLE)
    import megatron.core.pipeline_parallel.schedules as schedules

    assert schedules.torch is not torch
    assert schedules.torch.zeros(1, device="cuda").device.type == "cpu"
    assert torch.zeros(1).type() == "torch.FloatTensor"
    with pytest.raises((AssertionError, RuntimeError)):
        torch.zeros(1, device="cuda")
    with pytest.raises((AssertionError, RuntimeError)):
        torch.zeros(1).cuda()
    with torch.device("meta"):
        assert torch.empty(2).device.type == "meta"


def test_without_a_gpu_packages_that_need_one_are_not_there_for_megatron(tmp_path):
    """The warm start hides the GPUs of a machine that has Transformer Engine, whose Adam would ask for one."""
    for name in ("transformer_engine", "apex"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('no CUDA')\n")
    script = (
        "from ablate.trainer import cpu\n"
        "cpu.import_megatron()\n"
        "from megatron.core import optimizer\n"
        "assert optimizer.USING_PYTORCH_OPTIMIZER"
    )
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_transformers_loads_the_same_model_after_megatron_was_mapped(tiny_checkpoint):
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    cpu.import_megatron()
    model = AutoModelForCausalLM.from_pretrained(tiny_checkpoint)
    expected = load_file(tiny_checkpoint / "model.safetensors")
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in expected.items())


def test_tensors_answer_for_cuda_only_while_megatron_runs():
    tensor = torch.zeros(2)
    with cpu.answering_for_cuda():
        assert tensor.type() == "torch.cuda.FloatTensor"
        assert tensor.cuda() is tensor
        assert tensor.type(torch.float64).dtype == torch.float64
        with cpu.answering_for_cuda():
            assert tensor.type() == "torch.cuda.FloatTensor"
        assert tensor.type() == "torch.cuda.FloatTensor"
    assert tensor.type() == "torch.FloatTensor"


def test_the_global_random_stream_does_not_notice_a_trainer(tiny_checkpoint):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    cases.open_trainer(tiny_checkpoint, cases.SINGLE)
    assert torch.equal(torch.rand(3), expected)


def test_importing_and_building_warns_of_nothing(tiny_checkpoint):
    program = (
        f"import sys; sys.path.insert(0, {str(cases.__file__).rsplit('/', 1)[0]!r}); import cases; "
        f"from pathlib import Path; t = cases.open_trainer(Path({str(tiny_checkpoint)!r}), cases.SINGLE); "
        "objective = cases.objective_named('grpo'); "
        "t.update(cases.make_batch(cases.rollout_groups(), objective), objective)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr == ""
