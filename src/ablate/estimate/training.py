"""Seconds of what the trainer does with a batch: log-probabilities, updates, weights to the engine, checkpoints.

Arithmetic and collectives of tensor parallelism follow one another, as they do without overlap; a pipeline adds its
bubble; the last stage has the output projection in addition to its layers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ablate.config import ParallelConfig
from ablate.estimate.decode import NUM_BYTES
from ablate.estimate.device import DeviceConfig
from ablate.estimate.shape import Shape

COLLECTIVES_PER_LAYER = 4  # forward: two gathers and two reduce-scatters, or two sums that carry as much
LOGP_COLLECTIVES = 2  # the maximum and the sums of the softmax
ADAM_BYTES = 30  # of a parameter: gradient, main weight and moments are read, all but the gradient written
CROSSING_BYTES = 6  # of a parameter whose state is on the host: its gradient comes, and its weight goes back


@dataclass(frozen=True)
class LayoutSizes:
    """The sizes of ``parallel`` that matter here, with the number of data-parallel copies."""

    tensor: int
    pipeline: int
    context: int
    data: int

    @property
    def world_size(self) -> int:
        return self.tensor * self.pipeline * self.context * self.data


def layout_of(parallel: ParallelConfig) -> LayoutSizes:
    model_size = parallel.tensor * parallel.pipeline * parallel.context
    world = parallel.world_size or model_size
    return LayoutSizes(parallel.tensor, parallel.pipeline, parallel.context, world // model_size)


def share_on_host(parallel: ParallelConfig) -> float:
    """The share of the optimizer's state that Megatron keeps, and updates, in the host's memory."""
    own = parallel.megatron
    return float(own.get("optimizer_offload_fraction", 0.0)) if own.get("optimizer_cpu_offload") else 0.0


def layers_again(shape: Shape, parallel: ParallelConfig) -> int:
    """Layers of a stage whose forward pass runs again before their backward pass."""
    if parallel.recompute != "full":
        return 0
    layers = shape.num_layers // parallel.pipeline
    return layers if parallel.recompute_layers is None else min(layers, parallel.recompute_layers)


def num_micro_batches(lengths: Sequence[int], parallel: ParallelConfig, num_copies: int) -> int:
    """Micro-batches of each data-parallel copy, longest rows first, as ``trainer.batching`` packs or pads them."""
    count = packed if parallel.packing else padded
    return math.ceil(count(sorted(lengths, reverse=True), parallel.max_tokens_per_micro_batch) / num_copies)


def packed(lengths: Sequence[int], budget: int) -> int:
    """Bins of ``budget`` tokens that first fit needs."""
    rooms: list[int] = []
    for length in lengths:
        place = next((index for index, room in enumerate(rooms) if room >= length), len(rooms))
        if place == len(rooms):
            rooms.append(budget)
        rooms[place] -= length
    return len(rooms)


def padded(lengths: Sequence[int], budget: int) -> int:
    """Bins of ``budget`` tokens, where every row of a bin is padded to its longest row."""
    count, longest, rows = 0, 0, 0
    for length in lengths:
        if not rows or (rows + 1) * longest > budget:
            count, longest, rows = count + 1, length, 0
        rows += 1
    return count


def rows_of_passes(
    lengths: Sequence[int], num_updates: int, trained_share: float, for_records: bool
) -> tuple[list[int], list[list[int]]]:
    """The rows whose old log-probabilities need a pass of their own, and the rows of each update.

    As in ``trainer.updates``: a row without a gradient leaves its update, and the first update's own forward pass gives
    the old log-probabilities of its rows.

    Args:
        trained_share: of the rows that have a gradient.
        for_records: whether the old log-probabilities of every row are saved.
    """
    split = [list(lengths[index::num_updates]) for index in range(num_updates)]
    trained = [rows[: round(len(rows) * trained_share)] for rows in split]
    left_out = [rows[len(kept) :] for rows, kept in zip(split, trained, strict=True)] if for_records else []
    return [length for rows in (*trained[1:], *left_out) for length in rows], trained


@dataclass(frozen=True)
class TrainerSpeed:
    """Costs of one rank, and how often each occurs; ``trainer_speed`` makes it."""

    shape: Shape
    layout: LayoutSizes
    parallel: ParallelConfig
    device: DeviceConfig

    @property
    def flops_per_s(self) -> float:
        return self.device.tflops(self.parallel.precision) * 1e12 * self.device.train_share

    @property
    def parameters_per_rank(self) -> float:
        return self.shape.num_parameters / (self.layout.tensor * self.layout.pipeline)

    def pass_s(self, lengths: Sequence[int], layer_passes: float, projection_passes: float) -> float:
        """Seconds of a pass over rows of these lengths, in units of a forward pass through layers and projection."""
        if not lengths:
            return 0.0
        layout, device = self.layout, self.device
        count = num_micro_batches(lengths, self.parallel, layout.data)
        tokens = sum(lengths) / layout.data
        attention = self.shape.attention_flops * sum(length**2 / 2 for length in lengths) / layout.data
        per_stage = (self.shape.layer_flops * tokens + attention) * layer_passes / layout.pipeline
        last_stage = per_stage + self.shape.projection_flops * tokens * projection_passes
        arithmetic_s = last_stage / (layout.tensor * layout.context) / self.flops_per_s
        passes_s = count * layer_passes * (device.micro_batch_s + self.collectives_s(tokens / count))
        bubble = (layout.pipeline - 1) / count
        return (arithmetic_s + passes_s) * (1 + bubble)

    def collectives_s(self, num_tokens: float) -> float:
        """Seconds of the tensor group's collectives in one forward pass of a micro-batch through one stage."""
        layout, device = self.layout, self.device
        if layout.tensor == 1:
            return 0.0
        num_bytes = num_tokens / layout.context * self.shape.hidden_size * NUM_BYTES[self.parallel.precision]
        carried_s = num_bytes * (layout.tensor - 1) / layout.tensor / (device.link_gb_s * 1e9 * device.link_share)
        layers = self.shape.num_layers / layout.pipeline
        calls = COLLECTIVES_PER_LAYER if self.parallel.sequence_parallel else COLLECTIVES_PER_LAYER / 2
        return layers * (COLLECTIVES_PER_LAYER * carried_s + calls * device.collective_s) + (
            LOGP_COLLECTIVES * device.collective_s
        )

    def logp_s(self, lengths: Sequence[int]) -> float:
        """Seconds to compute the log-probabilities of these rows."""
        return self.pass_s(lengths, 1.0, 1.0)

    def update_s(self, lengths: Sequence[int], metrics_token_s: float) -> float:
        """Seconds of one update: forward, backward (two forward passes), what is recomputed, and the optimizer."""
        recomputed = layers_again(self.shape, self.parallel) / (self.shape.num_layers / self.layout.pipeline)
        passes_s = self.pass_s(lengths, 3.0 + recomputed, 4.0)  # backward projects the vocabulary again
        return passes_s + self.reduce_s() + self.optimizer_s() + sum(lengths) * metrics_token_s + self.device.update_s

    def reduce_s(self) -> float:
        """Seconds to sum the gradients, in fp32, over the ranks that hold the same parameters."""
        copies = self.layout.data * self.layout.context
        if copies == 1:
            return 0.0
        fits_node = self.layout.world_size <= self.device.per_node
        rate = (self.device.link_gb_s if fits_node else self.device.network_gb_s) * 1e9 * self.device.link_share
        return 2 * (copies - 1) / copies * self.parameters_per_rank * 4 / rate + self.device.collective_s

    def optimizer_s(self) -> float:
        shares = self.layout.data * self.layout.context if self.parallel.distributed_optimizer else 1
        rate, on_host = self.device.bandwidth_gb_s * 1e9 * self.device.bandwidth_share, share_on_host(self.parallel)
        here_s, there_s = ADAM_BYTES / rate, (ADAM_BYTES + CROSSING_BYTES) / (self.device.host_gb_s * 1e9)
        return self.parameters_per_rank / shares * ((1 - on_host) * here_s + on_host * there_s)
