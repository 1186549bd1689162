"""How long an engine step takes: a roofline over the weights, the cache of keys and values, and the arithmetic.

A step reads every weight once and every running sequence's keys and values once, and multiplies each running sequence's
newest token with every weight. The slower of memory and arithmetic bounds it, and a fixed cost comes on top (Williams
et al., "Roofline", 2009, applied to decoding as in Pope et al., arXiv 2211.05102).
"""

from __future__ import annotations

from dataclasses import dataclass

from ablate.config import EngineConfig
from ablate.estimate.device import GIB, DeviceConfig
from ablate.estimate.shape import Shape

NUM_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2, "fp32": 4, "bf16": 2}
# vLLM, "Quantized KV Cache": one scale per layer and tensor (1.0 unless it is calibrated) and one byte per number.
KV_BYTES = NUM_BYTES | {"fp8": 1, "fp8_e4m3": 1, "fp8_e5m2": 1}
SUMS_PER_LAYER = 2  # tensor parallelism sums after attention and after the MLP


@dataclass(frozen=True)
class EngineSpeed:
    """What bounds one engine (``rollout.engine.tensor_parallel`` devices), each figure for the whole engine."""

    weight_bytes: float
    kv_bytes: float  # of one token
    flops: float  # of one token in matrices
    attention_flops: float  # of one token for each token that it attends to
    bytes_per_s: float  # achieved
    flops_per_s: float  # achieved while decoding
    prefill_flops_per_s: float
    step_s: float  # of every step
    sequence_s: float  # of every step and running sequence
    kv_tokens: float  # tokens that the cache has room for

    def step_with(self, num_running: float, num_cached: float) -> float:
        """Seconds of a step with ``num_running`` sequences whose contexts hold ``num_cached`` tokens together."""
        memory_s = (self.weight_bytes + num_cached * self.kv_bytes) / self.bytes_per_s
        arithmetic_s = (num_running * self.flops + num_cached * self.attention_flops) / self.flops_per_s
        return self.step_s + num_running * self.sequence_s + max(memory_s, arithmetic_s)

    def prefill_s(self, num_tokens: float) -> float:
        """Seconds to compute the keys and values of ``num_tokens`` new tokens of one sequence."""
        flops = num_tokens * (self.flops + self.attention_flops * num_tokens / 2)
        return max(flops / self.prefill_flops_per_s, num_tokens and self.weight_bytes / self.bytes_per_s)


def engine_speed(shape: Shape, engine: EngineConfig, device: DeviceConfig) -> EngineSpeed:
    """The speed of one engine on ``engine.tensor_parallel`` such devices."""
    size = engine.tensor_parallel
    num_bytes = NUM_BYTES[engine.dtype]
    # A GPU sums the product in float32 anyway and writes it as it is. On a CPU vLLM copies the weights at every step.
    copied = device.is_cpu and engine.head_dtype == "float32" and num_bytes < NUM_BYTES["float32"]
    head_bytes = shape.embedding * 2 * NUM_BYTES["float32"] if copied else 0  # written, and read again
    sums_s = shape.num_layers * SUMS_PER_LAYER * device.collective_s if size > 1 else 0.0
    return EngineSpeed(
        weight_bytes=(shape.num_parameters - (0 if shape.tied_embeddings else shape.embedding)) * num_bytes
        + head_bytes,
        kv_bytes=kv_token_bytes(shape, engine),
        flops=shape.layer_flops + shape.projection_flops,
        attention_flops=shape.attention_flops,
        bytes_per_s=size * device.bandwidth_gb_s * 1e9 * device.bandwidth_share,
        flops_per_s=size * device.tflops(engine.dtype) * 1e12 * device.decode_share,
        prefill_flops_per_s=size * device.tflops(engine.dtype) * 1e12 * device.prefill_share,
        step_s=device.engine_step_s + sums_s,
        sequence_s=device.engine_sequence_s,
        kv_tokens=kv_room(shape, engine, None if device.is_cpu else device.memory_bytes, device.engine_gib * GIB),
    )


def kv_token_bytes(shape: Shape, engine: EngineConfig) -> float:
    """Bytes of one token's keys and values in all layers, over all GPUs of an engine."""
    return shape.kv_numbers * KV_BYTES[engine.dtype if engine.kv_cache_dtype == "auto" else engine.kv_cache_dtype]


def kv_room(shape: Shape, engine: EngineConfig, gpu_bytes: float | None, engine_bytes: float = 0.0) -> float:
    """Tokens of keys and values that one engine has room for; negative where the weights alone do not fit.

    Args:
        gpu_bytes: memory of one of its GPUs; None: the engine runs on a CPU.
        engine_bytes: what each GPU holds in addition to weights and cache.
    """
    token_bytes = kv_token_bytes(shape, engine)
    if gpu_bytes is None:
        return engine.kv_cache_gib * GIB / token_bytes
    usable = engine.tensor_parallel * (engine.gpu_memory_utilization * gpu_bytes - engine_bytes)
    return (usable - shape.num_parameters * NUM_BYTES[engine.dtype]) / token_bytes
