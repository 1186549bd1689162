"""An engine in a process of its own: what happens when that process is killed or stopped."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import InvalidStateError
from contextlib import contextmanager, suppress
from multiprocessing import connection
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

from ablate.errors import UserError

if TYPE_CHECKING:
    from vllm.v1.engine.core_client import SyncMPClient

POLL_S = 2.0


def report_death(client: SyncMPClient, silence_s: float) -> None:
    """From now on, every call that waits for the engine's process raises ``EngineDeadError`` when that process dies.

    vLLM 0.31 refuses later calls only: a call that waits for the answer of a killed process would hang.

    Args:
        silence_s: a process that is stopped (SIGSTOP) for this long is killed.
    """
    Thread(target=_fail_calls_at_death, args=(client, silence_s), name="ablate-engine-watch", daemon=True).start()


def _fail_calls_at_death(client: SyncMPClient, silence_s: float) -> None:
    from vllm.v1.engine.exceptions import EngineDeadError

    processes = {process.sentinel: process.pid for process in client.resources.engine_manager.processes}
    stopped_s = 0.0
    while not connection.wait(processes, timeout=POLL_S):
        stopped = [pid for pid in processes.values() if is_stopped(pid)]
        stopped_s = stopped_s + POLL_S if stopped else 0.0
        for pid in stopped if stopped_s > silence_s else ():
            os.kill(pid, signal.SIGKILL)
    client.resources.engine_dead = True  # no call begins after this, so none is missed below
    client.outputs_queue.put_nowait(EngineDeadError())
    for call in list(client.utility_results.values()):
        with suppress(InvalidStateError):  # it was answered meanwhile
            call.set_exception(EngineDeadError())


def is_stopped(pid: int) -> bool:
    """Whether a signal has stopped the process (state T of proc(5)); False where there is no /proc."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    except OSError:
        return False


@contextmanager
def death_in_one_sentence() -> Iterator[None]:
    """Turn ``EngineDeadError`` into a ``UserError``."""
    from vllm.v1.engine.exceptions import EngineDeadError

    try:
        yield
    except EngineDeadError as error:
        raise UserError(
            "the engine's process ended without a word, as when the machine runs out of memory: lower "
            "rollout.engine.kv_cache_gib or max_num_seqs if that is the cause, and repeat the command, which continues "
            "at the newest checkpoint"
        ) from error
