"""A thread of each rank writes the files of a checkpoint, in place of the processes that Megatron would fork."""

from __future__ import annotations

import contextlib
import inspect
import queue
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from ablate.trainer import cpu
from ablate.trainer.checkpoint.integrity import new_digest

cpu.import_megatron()

from megatron.core import dist_checkpointing  # noqa: E402
from megatron.core.dist_checkpointing.strategies import filesystem_async  # noqa: E402
from megatron.core.dist_checkpointing.strategies.async_utils import AsyncRequest  # noqa: E402

if TYPE_CHECKING:
    from torch import Tensor


class Writing:
    """A save that is under way: a thread of this process writes the files of this rank.

    A thread ends with its process, however the process ends. Megatron's forked writers outlive a killed run, and keep
    the lock and the sockets that they inherited.
    """

    def __init__(self, request: AsyncRequest, changing: Collection[int]) -> None:
        self._finalize_fns = request.finalize_fns
        has_files = request.async_fn is not None
        thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ablate-checkpoint")
        self._written = thread.submit(write_files, *(staged(request, changing) if has_files else ([], [], None)))
        thread.shutdown(wait=False)

    def is_done(self) -> bool:
        """Whether this rank has written its files, or failed to."""
        return self._written.done()

    def discard(self) -> None:
        """Wait until this rank writes no more."""
        wait([self._written])

    def finish(self) -> dict[str, list[Any]]:
        """Wait for the files of every rank and write Megatron's index of them. Every rank calls it.

        Returns:
            The size and hash of every file that this rank wrote, by name.

        Raises:
            OSError: on the rank that could not write its files.
        """
        fingerprints = self._written.result()
        with cpu.answering_for_cuda():
            for finalize in self._finalize_fns:
                finalize()
        return fingerprints


def begin_writing(
    sharded: dict[str, Any], directory: Path, metadata: Mapping[str, Any], *, changing: Collection[int] = ()
) -> Writing:
    """Begin to write a sharded state dict. Every rank calls it.

    Args:
        changing: storages on the CPU (``storage_of``) that may change before they are written: copies are written.
            What Megatron has gathered for this save is not copied once more, for it may fill the host's memory.
    """
    with results_in_this_process():
        request = dist_checkpointing.save(
            sharded, str(directory), async_sharded_save=True, content_metadata=dict(metadata)
        )
    return Writing(request, changing)


def storage_of(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


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


def staged(request: AsyncRequest, changing: Collection[int]) -> tuple[list, list, queue.Queue]:
    """Return the arguments of ``write_files``, with every tensor on the CPU and none in the storages ``changing``."""
    transforms, _ = request.async_fn.args
    _, buckets, results = request.async_fn_args
    on_cpu = [
        (
            path,
            name,
            (objects, [(item, tensor.to("cpu", copy=storage_of(tensor) in changing)) for item, tensor in tensors]),
        )
        for path, name, (objects, tensors) in buckets
    ]
    return transforms, on_cpu, results


class HashedStream:
    """A file that is being written, and the size and hash of what has been written."""

    def __init__(self) -> None:
        self.stream: IO[bytes] | None = None
        self.num_bytes, self.digest = 0, new_digest()

    def write(self, data: bytes) -> int:
        view = memoryview(data).cast("B")
        self.digest.update(view)
        self.num_bytes += len(view)
        return self.stream.write(data)

    def flush(self) -> None:
        self.stream.flush()


class Hashing:
    """torch's transforms of a file's stream; whatever they write goes through ``file``."""

    def __init__(self, transforms: Any, file: HashedStream) -> None:
        self.transforms, self.file = transforms, file

    def transform_save_stream(self, write_item: Any, raw_stream: IO[bytes]) -> tuple[IO[bytes], list[str]]:
        self.file.stream = raw_stream
        return self.transforms.transform_save_stream(write_item, self.file)


def write_files(transforms: list, buckets: list, results: queue.Queue | None) -> dict[str, list[Any]]:
    """Write one file per bucket, one after the other, in place of Megatron's one process per bucket.

    ``results`` receives {index of the bucket: what was written}; it is None on a rank that has nothing to write.

    Returns:
        The size and hash of every file, taken on the way to the disk: reading them back takes longer than writing.
    """
    # Without its decorator, which would stop the garbage collector of the whole process while the thread writes.
    write_bucket = inspect.unwrap(filesystem_async.FileSystemWriterAsync.write_preloaded_data)
    written, fingerprints = {}, {}
    for index, bucket in enumerate(buckets):
        outcome, unfinished, file = queue.Queue(), queue.Queue(), HashedStream()
        unfinished.put(index)
        write_bucket([Hashing(*transforms, file)], index, bucket, outcome, unfinished, use_fsync=True)
        _, written[index] = outcome.get_nowait()
        if isinstance(written[index], Exception):
            raise written[index]
        fingerprints[Path(bucket[0]).name] = [file.num_bytes, file.digest.hexdigest()]
    if results is not None:
        results.put(written)
    return fingerprints
