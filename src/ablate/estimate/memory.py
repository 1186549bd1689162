"""Bytes of one trainer rank by part, the cache's room on a server, and what checkpoints and rollouts take on disk.

Sizes follow Megatron-Core with Transformer Engine's layers and this project's projection (trainer/model/logprobs.py).
S tokens of a micro-batch on this context rank, s = S / tensor under sequence parallelism, h hidden size.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from ablate.config import ParallelConfig
from ablate.estimate.decode import NUM_BYTES
from ablate.estimate.device import GIB, DeviceConfig
from ablate.estimate.shape import Shape
from ablate.estimate.training import layers_again, layout_of, share_on_host

MAIN_BYTES = 12  # of a parameter in bf16: an fp32 copy and Adam's two moments
FP32_BYTES = 8  # of a parameter that is fp32 itself: the moments
GATHERED_BYTES = 12  # of a parameter: weight and two moments in fp32
PROCESS_GIB = 4.0  # of a rank on a GPU before it saves: torch, CUDA and Megatron
CHUNK_COPIES = 2.5  # of a chunk's fp32 logits that live at once: forward holds the logits and their exponentials
ROTARY_TABLES = 32  # lengths whose table Megatron keeps


@dataclass(frozen=True)
class RankMemory:
    """Bytes of the fullest rank. ``peak`` counts the larger of ``layer`` and ``projection``, which never coincide."""

    weights: float
    gradients: float
    optimizer: float  # main weights and moments
    stored: float  # what the forward pass keeps for the backward pass
    layer: float  # one layer forward again and its backward pass
    projection: float  # hidden states, their gradients, a chunk of logits, the weight's gradient
    tables: float  # rotations, batch, results

    @property
    def tensors(self) -> float:
        """Bytes of tensors at the peak of an update."""
        parts = {field.name: getattr(self, field.name) for field in fields(self)}
        return sum(parts.values()) - min(self.layer, self.projection)

    @property
    def resident(self) -> float:
        """Bytes of tensors that a rank keeps while servers on its GPU are awake: it frees the gradients."""
        return self.weights + self.optimizer

    def at_rest(self, device: DeviceConfig) -> float:
        """Bytes of device memory between updates."""
        return self.resident * (1 + device.fragmentation) + device.runtime_gib * GIB

    def on(self, device: DeviceConfig) -> float:
        """Bytes of device memory: tensors, what the allocator loses, and the runtime's own."""
        return self.tensors * (1 + device.fragmentation) + device.runtime_gib * GIB


def rank_memory(shape: Shape, parallel: ParallelConfig) -> RankMemory:
    """Memory of the fullest rank for a micro-batch of ``parallel.max_tokens_per_micro_batch`` tokens."""
    layout, num_bytes = layout_of(parallel), NUM_BYTES[parallel.precision]
    parameters = rank_parameters(shape, parallel)
    tokens = parallel.max_tokens_per_micro_batch / layout.context
    shared = tokens / layout.tensor if parallel.sequence_parallel else tokens
    in_flight = layout.pipeline  # micro-batches that the first stage has begun before the first backward pass
    stored = saved_by_stage(shape, parallel, tokens, shared) * num_bytes
    optimizer = MAIN_BYTES if parallel.precision == "bf16" else FP32_BYTES
    is_precision_aware = parallel.megatron.get("use_precision_aware_optimizer", False)  # else main weights stay here
    optimizer -= share_on_host(parallel) * (MAIN_BYTES if is_precision_aware else FP32_BYTES)
    shares = layout.data * layout.context if parallel.distributed_optimizer else 1
    hidden = tokens * shape.hidden_size
    words = shape.embedding / layout.tensor
    chunk = min(parallel.logp_chunk_tokens, tokens) * shape.vocab_size / layout.tensor * 4
    return RankMemory(
        weights=parameters * num_bytes,
        gradients=parameters * 4,
        optimizer=parameters * optimizer / shares,
        stored=in_flight * stored,
        layer=layer_working_set(shape, parallel, tokens, shared) * num_bytes,
        projection=hidden * (2 * num_bytes + 4 + num_bytes) + CHUNK_COPIES * chunk + words * 4,
        tables=ROTARY_TABLES * tokens * shape.head_dim * 4 + tokens * 64,
    )


def rank_parameters(shape: Shape, parallel: ParallelConfig) -> float:
    """Parameters of the fullest rank: matrices are split over the tensor group, norms are not."""
    layers = shape.num_layers // parallel.pipeline
    of_layers = layers * (shape.layer_matrices / parallel.tensor + shape.layer_vectors)
    num_embeddings = 1 if shape.tied_embeddings or parallel.pipeline > 1 else 2
    return of_layers + num_embeddings * shape.embedding / parallel.tensor + shape.hidden_size


def saved_by_stage(shape: Shape, parallel: ParallelConfig, tokens: float, shared: float) -> float:
    """Numbers that the layers of one stage keep for the backward pass: of a recomputed layer only its input."""
    layers = shape.num_layers // parallel.pipeline
    num_again = layers_again(shape, parallel)
    return num_again * shared * shape.hidden_size + (layers - num_again) * saved_by_layer(
        shape, parallel, tokens, shared
    )


def saved_by_layer(shape: Shape, parallel: ParallelConfig, tokens: float, shared: float) -> float:
    """Numbers that one layer keeps for the backward pass if it is not recomputed."""
    hidden, split = shared * shape.hidden_size, parallel.tensor
    attention = tokens * (3 * shape.query_size + 4 * shape.kv_size) / split  # q, k, v, rotated q and k, the result
    mlp = tokens * 3 * shape.mlp_size / split  # gate and up, their product
    return 4 * hidden + attention + mlp  # two inputs, two normed inputs


def layer_working_set(shape: Shape, parallel: ParallelConfig, tokens: float, shared: float) -> float:
    """Numbers of one layer's forward pass, if it is recomputed, and of its backward pass at its widest, the MLP."""
    gathered = tokens * shape.hidden_size
    gradients = 2 * gathered + tokens * 3 * shape.mlp_size / parallel.tensor
    if not layers_again(shape, parallel):
        return gradients
    # The gathered inputs of attention and MLP come on top.
    return gradients + saved_by_layer(shape, parallel, tokens, shared) + 2 * gathered


def checkpoint_bytes(shape: Shape, precision: str) -> float:
    """One checkpoint: weights, and main weights with their moments."""
    return shape.num_parameters * (NUM_BYTES[precision] + (MAIN_BYTES if precision == "bf16" else FP32_BYTES))


def host_bytes_of_rank(shape: Shape, parallel: ParallelConfig) -> float:
    """Host memory that the fullest rank takes for a checkpoint, beyond what it held before.

    With a split optimizer every rank gathers its part of the model whole, as fp32 weights and moments. Megatron builds
    them next to the rank's own share; the last of the three is there a second and a third time while it arrives. What
    a rank then writes takes as much: Megatron clones it out of what it has gathered. Else the first copy of the data
    writes its own tensors from the host.
    """
    layout, parameters = layout_of(parallel), rank_parameters(shape, parallel)
    if not parallel.distributed_optimizer:
        return checkpoint_bytes(shape, parallel.precision) * parameters / shape.num_parameters
    return parameters * (GATHERED_BYTES + 2 * 4 + GATHERED_BYTES / (layout.data * layout.context))


def host_bytes(shape: Shape, parallel: ParallelConfig, per_node: int) -> float:
    """Host memory of the fullest trainer node at its peak: the ranks' processes, while all of them save."""
    return (host_bytes_of_rank(shape, parallel) + offloaded_bytes(shape, parallel) + PROCESS_GIB * GIB) * min(
        per_node, layout_of(parallel).world_size
    )


def offloaded_bytes(shape: Shape, parallel: ParallelConfig) -> float:
    """Host memory of a rank for the optimizer's state that is there, with the gradients that it reads."""
    layout = layout_of(parallel)
    own = rank_parameters(shape, parallel) / (layout.data * layout.context)  # it is the distributed optimizer's
    return share_on_host(parallel) * own * (MAIN_BYTES + 4)
