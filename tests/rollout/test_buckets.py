"""Weights packed into messages arrive as they were, and a peer that is not there is an error and no endless wait."""

from __future__ import annotations

import os
import pickle
import threading
import time
from datetime import timedelta

import pytest
import torch
import torch.distributed as dist
from torch.utils._pytree import tree_leaves

from ablate.rollout.weights import shared as shared_memory
from ablate.rollout.weights.buckets import MessageLayout, buckets, open_group, unpacked
from ablate.rollout.weights.shared import SharedBuffer, SharedReader

from ..trainer.pretend_cuda import CUDA, pretended_cuda

CPU = torch.device("cpu")


def weights():
    generator = torch.Generator().manual_seed(0)
    shapes = [(3, 5), (7,), (), (2, 2, 3), (0, 4)]
    dtypes = [torch.float32, torch.bfloat16, torch.float64, torch.float16, torch.float32]
    return [
        (f"w{index}", torch.randn(shape, generator=generator).to(dtype))
        for index, (shape, dtype) in enumerate(zip(shapes, dtypes, strict=True))
    ]


def store_of_two() -> dist.TCPStore:
    return dist.TCPStore("127.0.0.1", 0, 2, True, timedelta(seconds=20), wait_for_workers=False)


@pytest.mark.parametrize("num_bytes", [1, 64, 1e9])
def test_messages_hold_every_tensor_once_and_in_order(num_bytes):
    arrived = [pair for layout, buffer in buckets(weights(), num_bytes) for pair in unpacked(layout, buffer)]
    assert [name for name, _ in arrived] == [name for name, _ in weights()]
    for (_, tensor), (_, expected) in zip(arrived, weights(), strict=True):
        assert tensor.dtype == expected.dtype
        assert torch.equal(tensor, expected)


def test_no_message_is_larger_than_a_bucket_or_the_largest_tensor():
    """The projection of a vocabulary is the last tensor and a large one: with what waits it would be the largest."""
    sizes = [600, 100, 100, 100, 100, 100, 600]
    layouts = [
        layout for layout, _ in buckets([(str(size), torch.zeros(size, dtype=torch.uint8)) for size in sizes], 512)
    ]
    assert max(layout.num_bytes for layout in layouts) == 608  # 600 and its padding
    assert [len(layout.names) for layout in layouts] == [1, 4, 1, 1]


def test_a_message_is_gathered_completely_before_it_is_sent():
    log = []

    def gathered():
        for name, tensor in weights():
            log.append(name)
            yield name, tensor

    for layout, _ in buckets(gathered(), 1e9):
        log.append(len(layout.names))
    assert log == [*(name for name, _ in weights()), len(weights())]


def test_a_broadcast_carries_a_message_between_two_members():
    ((layout, buffer),) = buckets(weights(), 1e9)
    store, received = store_of_two(), torch.empty(layout.num_bytes, dtype=torch.uint8)

    def receive():
        own = dist.TCPStore("127.0.0.1", store.port, 2, False, timedelta(seconds=20))
        open_group(own, 1, 2, CPU, 20).broadcast(received)

    thread = threading.Thread(target=receive)
    thread.start()
    open_group(store, 0, 2, CPU, 20).broadcast(buffer)
    thread.join()
    for (_, tensor), (_, expected) in zip(unpacked(layout, received), weights(), strict=True):
        assert torch.equal(tensor, expected)


def test_a_member_that_never_comes_is_an_error_after_the_timeout():
    start = time.monotonic()
    with pytest.raises(RuntimeError):
        open_group(store_of_two(), 0, 2, CPU, 1)
    assert time.monotonic() - start >= 1


def test_a_layout_survives_json():
    ((layout, _),) = buckets(weights(), 1e9)
    values = layout.as_json()
    assert (
        MessageLayout(
            **{name: tuple(map(tuple, value)) if name == "shapes" else tuple(value) for name, value in values.items()}
        )
        == layout
    )


def test_a_message_is_made_on_the_device_that_the_group_needs(monkeypatch):
    """``ablate.evaluate checkpoint=DIR`` has its weights on the CPU, and NCCL carries none of a CPU."""
    with pretended_cuda(monkeypatch):
        for source in ("cpu", "cuda"):
            on_source = [(name, tensor.to(source)) for name, tensor in weights()]
            messages = [buffer for _, buffer in buckets(on_source, 64, CUDA)]
            assert len(messages) > 1
            assert all(buffer.is_cuda for buffer in messages)


def test_weights_cross_to_another_process_in_messages_of_shared_memory(monkeypatch):
    shared, reader, arrived = SharedBuffer(), SharedReader(), []
    with pretended_cuda(monkeypatch):
        on_gpu = [(name, tensor.to("cuda")) for name, tensor in weights()]
        for layout, buffer in buckets(on_gpu, 64):
            travels = (layout, shared.path, shared.put(buffer))
            assert not any(leaf.is_cuda for leaf in tree_leaves(travels) if isinstance(leaf, torch.Tensor))
            layout, path, num_mapped = pickle.loads(pickle.dumps(travels))
            arrived += unpacked(layout, reader.take(path, num_mapped, layout.num_bytes, CUDA))
        assert all(tensor.is_cuda for _, tensor in arrived)
    assert [name for name, _ in arrived] == [name for name, _ in weights()]
    assert all(torch.equal(tensor, expected) for (_, tensor), (_, expected) in zip(arrived, weights(), strict=True))


def test_a_message_that_was_taken_is_not_changed_by_the_next_one():
    shared, reader = SharedBuffer(), SharedReader()
    first, second = (torch.full((size,), size, dtype=torch.uint8) for size in (200, 100))
    taken_first = reader.take(shared.path, shared.put(first), 200, CPU)
    taken_second = reader.take(shared.path, shared.put(second), 100, CPU)
    assert torch.equal(taken_first, first)
    assert torch.equal(taken_second, second)


def test_an_nccl_group_is_made_without_a_watchdog_that_would_end_the_process(monkeypatch):
    seen = []

    class NoNccl:
        class Options:
            pass

        def __init__(self, *_):
            seen.append(os.environ.get("TORCH_NCCL_BLOCKING_WAIT"))

    monkeypatch.setattr(dist, "ProcessGroupNCCL", NoNccl, raising=False)
    monkeypatch.delenv("TORCH_NCCL_BLOCKING_WAIT", raising=False)
    open_group(dist.HashStore(), 0, 1, torch.device("cuda"), 1)
    assert seen == ["1"]
    assert "TORCH_NCCL_BLOCKING_WAIT" not in os.environ


class PinnedRanges:
    """The CUDA runtime's book of pinned ranges, which refuses a range that overlaps one that it has."""

    def __init__(self) -> None:
        self.ranges: dict[int, int] = {}
        self.refused = 0

    def cudaHostRegister(self, address: int, num_bytes: int, _flags: int) -> int:
        if any(address < start + size and start < address + num_bytes for start, size in self.ranges.items()):
            self.refused += 1
            return 712
        self.ranges[address] = num_bytes
        return 0

    def cudaHostUnregister(self, address: int) -> int:
        return 0 if self.ranges.pop(address, None) else 713


def test_memory_is_unpinned_before_it_is_mapped_anew(monkeypatch):
    """Messages grow within a hand-off, and every hand-off begins with the first one again."""
    runtime = PinnedRanges()
    monkeypatch.setattr(shared_memory, "cuda_runtime", lambda: runtime)
    shared, reader = SharedBuffer(), SharedReader()
    for size in (2, 3, 1, 2, 3, 4):
        buffer = torch.arange(size * 2**20, dtype=torch.int64).view(torch.uint8)[: size * 2**20]
        num_mapped = shared.put(buffer)
        assert torch.equal(reader.take(shared.path, num_mapped, len(buffer), torch.device("cpu")), buffer)
        assert len(runtime.ranges) == 2
    assert runtime.refused == 0


def test_memory_that_cannot_be_pinned_is_copied_all_the_same(monkeypatch):
    runtime = PinnedRanges()
    runtime.cudaHostRegister = lambda *_: 712
    monkeypatch.setattr(shared_memory, "cuda_runtime", lambda: runtime)
    shared, reader = SharedBuffer(), SharedReader()
    buffer = torch.arange(100, dtype=torch.uint8)
    assert torch.equal(reader.take(shared.path, shared.put(buffer), 100, torch.device("cpu")), buffer)
