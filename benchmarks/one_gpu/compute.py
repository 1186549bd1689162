"""Numbers, memory and speed of the trainer's step on one device."""

from __future__ import annotations

import time
import warnings
from dataclasses import replace
from typing import Any

import torch

from benchmarks.one_gpu.setup import (
    DEVICE,
    HAS_GPU,
    QWEN3_1_7B,
    SINGLE,
    SMALL,
    TEMPERATURE,
    objective,
    on_policy,
    open_trainer,
    random_batch,
    synchronize,
    write_model,
)

FORMS = {
    "single": {},
    "bf16": {"precision": "bf16"},
    "packed": {"packing": True},
    "packed_full": {"packing": True, "recompute": "full"},
    "distributed": {"distributed_optimizer": True},
}
LENGTHS = [40, 25, 64, 33, 64, 12, 50, 31]


def imports() -> dict[str, Any]:
    """The branch for a GPU loads at all, and its product with a wider result is exact enough."""
    import megatron.core

    from ablate.trainer import cpu

    before = torch.cuda.current_device() if HAS_GPU else None
    cpu.import_megatron()
    left, right = (torch.randn(64, 64, dtype=torch.bfloat16, device=DEVICE) for _ in range(2))
    wide = torch.mm(left, right, out_dtype=torch.float32) if HAS_GPU else (left.float() @ right.float())
    gap = (wide.cpu().double() - left.cpu().double() @ right.cpu().double()).abs().max().item()
    found = {"torch": torch.__version__, "megatron": megatron.core.__version__, "mm_gap": gap, "device": str(DEVICE)}
    if HAS_GPU:
        assert torch.cuda.current_device() == before
        found |= {"gpu": torch.cuda.get_device_name(), "memory_gb": torch.cuda.mem_get_info()[1] / 1e9}
    return found


def forms() -> dict[str, Any]:
    """Log-probabilities against transformers in fp32 on the CPU, and the direction of a step against ``single``."""
    from transformers import AutoModelForCausalLM

    model_dir = write_model(SMALL, 64)
    batch = random_batch(LENGTHS, SMALL["vocab_size"])
    reference = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32)
    with torch.no_grad():
        logp_BTV = (reference(batch.tokens_BS).logits[:, :-1] / TEMPERATURE).log_softmax(-1)
    expected_BT = logp_BTV.gather(2, batch.tokens_BS[:, 1:, None])[..., 0]
    found, first = {}, None
    for name, changes in FORMS.items():
        trainer = open_trainer(model_dir, replace(SINGLE, **changes), 64)
        logp_BT, _ = trainer.logp(batch)
        gap = (logp_BT - expected_BT).abs()[batch.mask_BT].mean().item()
        gradient = trainer.gradient(on_policy(trainer, batch), objective()).float().flatten().cpu()
        first = gradient if first is None else first
        cosine = torch.nn.functional.cosine_similarity(first, gradient, dim=0).item()
        found[name] = {"gap_nats": gap, "cosine": cosine}
        assert gap < (0.03 if name == "bf16" else 1e-4), (name, gap)
        assert cosine > (0.98 if name == "bf16" else 0.9999), (name, cosine)
    return found


def large() -> dict[str, Any]:
    """Three updates of Qwen3-1.7B's shape at 40,960 packed tokens: memory against the estimate, speed, hidden syncs."""
    from ablate.estimate.memory import rank_memory
    from ablate.estimate.shape import shape_of
    from ablate.models.architecture import read_architecture

    sizes, tokens = (QWEN3_1_7B, 40_960) if HAS_GPU else (SMALL, 2048)
    model_dir = write_model(sizes, tokens, dtype="bfloat16" if HAS_GPU else "float32")
    parallel = replace(
        SINGLE,
        precision="bf16" if HAS_GPU else "fp32",
        packing=True,
        recompute="full",
        max_tokens_per_micro_batch=tokens,
    )
    trainer = open_trainer(model_dir, parallel, tokens)
    batch = on_policy(trainer, random_batch([tokens // 4] * 4, sizes["vocab_size"]))
    seconds, syncs = [], 0
    for number in range(3):
        if HAS_GPU and number == 2:
            torch.cuda.set_sync_debug_mode("warn")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            synchronize()
            start = time.perf_counter()
            trainer.update(batch, objective())
            synchronize()
            seconds.append(time.perf_counter() - start)
        syncs = sum("synchroniz" in str(each.message) for each in caught)
    memory = rank_memory(shape_of(vars(read_architecture(model_dir))), parallel)
    found = {"update_s": seconds, "tokens_s": tokens / min(seconds), "syncs_of_an_update": syncs}
    found["predicted_tensors_gb"] = memory.tensors / 1e9
    if HAS_GPU:
        found["peak_tensors_gb"] = torch.cuda.max_memory_allocated() / 1e9
        found["peak_reserved_gb"] = torch.cuda.max_memory_reserved() / 1e9
        free, total = torch.cuda.mem_get_info()
        found["runtime_gb"] = (total - free - torch.cuda.memory_reserved()) / 1e9
    return found


def packings() -> dict[str, Any]:
    """How far a row's mean log-probability moves when other rows share its micro-batch; GSPO clips at 3e-4."""
    sizes, longest = ({**SMALL, "num_hidden_layers": 8}, 32_768) if HAS_GPU else (SMALL, 512)
    precision = "bf16" if HAS_GPU else "fp32"
    model_dir = write_model(sizes, longest)
    lengths = [longest >> shift for shift in (5, 4, 3, 2, 1, 0)]
    batch = random_batch(lengths, sizes["vocab_size"])
    means = []
    for tokens in (longest, 2 * longest):
        parallel = replace(SINGLE, precision=precision, packing=True, max_tokens_per_micro_batch=tokens)
        logp_BT, _ = open_trainer(model_dir, parallel, longest).logp(batch)
        means.append((logp_BT * batch.mask_BT).sum(1) / batch.mask_BT.sum(1))
    gap_B = (means[0] - means[1]).abs()
    return {"precision": precision, "lengths": lengths, "gap_nats": gap_B.tolist(), "largest": gap_B.max().item()}


def projection() -> dict[str, Any]:
    """Forward and backward of the vocabulary projection at the size of a 14B model's rank under TP 8."""
    from ablate.trainer.model.logprobs import response_logp_entropy

    tokens, hidden, words = (40_960, 5120, 18_992) if HAS_GPU else (512, 128, 1024)
    dtype = torch.bfloat16 if HAS_GPU else torch.float32
    hidden_ND = torch.randn(tokens, hidden, dtype=dtype, device=DEVICE, requires_grad=True)
    weight_VD = torch.nn.Parameter(0.02 * torch.randn(words, hidden, dtype=dtype, device=DEVICE))
    target_N = torch.randint(words, (tokens,), device=DEVICE)
    seconds = []
    for _ in range(3):
        synchronize()
        start = time.perf_counter()
        logp_N, _ = response_logp_entropy(
            hidden_ND,
            weight_VD,
            target_N,
            mask=None,
            vocab_size=words,
            temperature=TEMPERATURE,
            chunk_tokens=2048,
            tp_group=None,
        )
        logp_N.sum().backward()
        synchronize()
        seconds.append(time.perf_counter() - start)
        hidden_ND.grad = weight_VD.grad = None
    found = {"update_s": seconds, "teraflops": 6 * tokens * hidden * words / min(seconds) / 1e12}
    return found | ({"peak_gb": torch.cuda.max_memory_allocated() / 1e9} if HAS_GPU else {})
