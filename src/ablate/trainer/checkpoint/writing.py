"""A thread of each rank writes the files of a checkpoint, in place of the processes that Megatron would fork."""

from __future__ import annotations

import contextlib
import inspect
import queue
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from ablate.trainer import cpu

cpu.import_megatron()

from megatron.core import dist_checkpointing  # noqa: E402
from megatron.core.dist_checkpointing.strategies import filesystem_async  # noqa: E402
from megatron.core.dist_checkpointing.strategies.async_utils import AsyncRequest  # noqa: E402


class Writing:
    """A save that is under way: a thread of this process writes the files of this rank.

    A thread ends with its process, however the process ends. Megatron's forked writers outlive a killed run, and keep
    the lock and the sockets that they inherited.
    """

    def __init__(self, request: AsyncRequest, copy: bool) -> None:
        self._finalize_fns = request.finalize_fns
        has_files = request.async_fn is not None
        thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ablate-checkpoint")
        self._written = thread.submit(write_files, *(staged(request, copy) if has_files else ([], [], None)))
        thread.shutdown(wait=False)

    def is_done(self) -> bool:
        """Whether this rank has written its files, or failed to."""
        return self._written.done()

    def discard(self) -> None:
        """Wait until this rank writes no more."""
        wait([self._written])

    def finish(self) -> None:
        """Wait for the files of every rank and write Megatron's index of them. Every rank calls it.

        Raises:
            OSError: on the rank that could not write its files.
        """
        self._written.result()
        with cpu.answering_for_cuda():
            for finalize in self._finalize_fns:
                finalize()


def begin_writing(sharded: dict[str, Any], directory: Path, metadata: Mapping[str, Any], *, copy: bool) -> Writing:
    """Begin to write a sharded state dict. Every rank calls it.

    Args:
        copy: write a copy, because the tensors may change before they are written.
    """
    with results_in_this_process():
        request = dist_checkpointing.save(
            sharded, str(directory), async_sharded_save=True, content_metadata=dict(metadata)
        )
    return Writing(request, copy)


@contextlib.contextmanager
def results_in_this_process() -> Iterator[None]:
    """Collect what a save wrote in a plain queue.

    Megatron would start a manager process, which imports the main script once more (seconds) and outlives a kill.
    """
    before, filesystem_async._results_queue = filesystem_async._results_queue, queue.Queue()
    try:
        yield
    finally:
        filesystem_async._results_queue = before


def staged(request: AsyncRequest, copy: bool) -> tuple[list, list, queue.Queue]:
    """Return the arguments of ``write_files``, with every tensor on the CPU.

    Args:
        copy: copy the tensors that are on the CPU already.
    """
    transforms, _ = request.async_fn.args
    _, buckets, results = request.async_fn_args
    on_cpu = [
        (path, name, (objects, [(item, tensor.to("cpu", copy=copy)) for item, tensor in tensors]))
        for path, name, (objects, tensors) in buckets
    ]
    return transforms, on_cpu, results


def write_files(transforms: list, buckets: list, results: queue.Queue | None) -> None:
    """Write one file per bucket, one after the other, in place of Megatron's one process per bucket.

    ``results`` receives {index of the bucket: what was written}; it is None on a rank that has nothing to write.
    """
    # Without its decorator, which would stop the garbage collector of the whole process while the thread writes.
    write_bucket = inspect.unwrap(filesystem_async.FileSystemWriterAsync.write_preloaded_data)
    written = {}
    for index, bucket in enumerate(buckets):
        outcome, unfinished = queue.Queue(), queue.Queue()
        unfinished.put(index)
        write_bucket(transforms, index, bucket, outcome, unfinished, use_fsync=True)
        _, written[index] = outcome.get_nowait()
        if isinstance(written[index], Exception):
            raise written[index]
    if results is not None:
        results.put(written)
