"""The process around vLLM: what must be in the environment before its import, and what it must not change in ours."""

from __future__ import annotations

import logging
import os
import random
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ablate.config import EngineConfig
from ablate.process.parents import asking_first

# A launcher (torchrun, srun) sets these for the trainer's world. vLLM's processes make a world of their own; a process
# that inherits the trainer's addresses would join the trainer's world, and both would hang.
LAUNCHER_VARIABLES = (
    "RANK",
    "WORLD_SIZE",
    "LOCAL_RANK",
    "LOCAL_WORLD_SIZE",
    "GROUP_RANK",
    "ROLE_RANK",
    "ROLE_WORLD_SIZE",
    "MASTER_ADDR",
    "MASTER_PORT",
    "TORCHELASTIC_RUN_ID",
    "TORCHELASTIC_USE_AGENT_STORE",
)

SOCKETS_PREFIX = "ablate-sockets-"
_open_pipes: list[int] = []  # one: the kernel closes it with this process
QUIET = {
    "HF_HUB_OFFLINE": "1",  # models are directories here; without this every start asks the hub
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "TORCH_CPP_LOG_LEVEL": "ERROR",
    "TOKENIZERS_PARALLELISM": "false",
}


def prepare_environment(config: EngineConfig) -> None:
    """Set what vLLM reads at import. A variable that the user has set keeps its value.

    Call it before the first import of vLLM. ``TORCHDYNAMO_DISABLE`` makes the first batch of an eager engine take 0.6 s
    in place of 2.8 s. Multiprocessing is off even for ``placement=child``: with it on, vLLM's CPU backend adds a third
    process. The child process is requested where the engine is made. It is spawned, because a forked child would
    inherit an initialised ``torch.distributed``.
    """
    wanted = dict(QUIET, VLLM_ENABLE_V1_MULTIPROCESSING="0", VLLM_WORKER_MULTIPROC_METHOD="spawn")
    if config.enforce_eager:
        wanted["TORCHDYNAMO_DISABLE"] = "1"
    for name, value in wanted.items():
        os.environ.setdefault(name, value)
    # The level is set once and not around every call: a Ctrl-C inside ``setLevel`` leaves logging's lock held
    # (Python 3.11), and then another thread that logs hangs the process at its end.
    logging.getLogger("torch._library.triton").setLevel(logging.ERROR)  # "Triton not available", on a CPU
    # vLLM would leave its sockets in the system's /tmp. A directory of this kind that is set already is a parent's.
    given = Path(os.environ.get("VLLM_RPC_BASE_PATH", SOCKETS_PREFIX)).name
    if given.startswith(SOCKETS_PREFIX) and not given.startswith(f"{SOCKETS_PREFIX}{os.getpid()}-"):
        remove_sockets_of_killed_runs()
        os.environ["VLLM_RPC_BASE_PATH"] = directory_that_ends_with_us()


def directory_that_ends_with_us() -> str:
    """A directory for sockets that is gone when this process ends, however it ends.

    A shell removes it. It waits for a pipe that the kernel closes, in a session of its own, which no signal to our
    process group reaches.
    """
    directory = tempfile.mkdtemp(prefix=f"{SOCKETS_PREFIX}{os.getpid()}-")
    ends_with_us, ours = os.pipe()  # no program that this process starts inherits ``ours``
    subprocess.Popen(
        ["/bin/sh", "-c", 'read -r _; rm -rf -- "$1"', "sh", directory],
        stdin=ends_with_us,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        cwd="/",
    )
    os.close(ends_with_us)
    _open_pipes.append(ours)
    return directory


def remove_sockets_of_killed_runs() -> None:
    """Remove the socket directories of processes that ended together with their shells; the name holds the id."""
    for directory in Path(tempfile.gettempdir()).glob(f"{SOCKETS_PREFIX}*"):
        owner = directory.name.removeprefix(SOCKETS_PREFIX).partition("-")[0]
        if not Path("/proc", owner).exists():
            shutil.rmtree(directory, ignore_errors=True)  # another user's directory stays


@contextmanager
def environment_for_children(num_threads: int) -> Iterator[None]:
    """Run the block with the environment that engine processes started inside it should inherit, then restore ours."""
    before = dict(os.environ)
    for name in LAUNCHER_VARIABLES:
        os.environ.pop(name, None)
    os.environ.setdefault("PYTHONWARNINGS", "ignore::FutureWarning")  # vLLM's import walks over deprecated torch names
    os.environ.setdefault("OMP_NUM_THREADS", str(num_threads))  # else as many as the machine has cores
    os.environ.setdefault("TORCH_LOGS", "-torch._library.triton")  # "Triton not available", on a CPU
    try:
        yield
    finally:
        for name in (*LAUNCHER_VARIABLES, "PYTHONWARNINGS", "OMP_NUM_THREADS", "TORCH_LOGS"):
            os.environ.pop(name, None)
            if name in before:
                os.environ[name] = before[name]


@contextmanager
def children_end_with_us(imports: str | None = None) -> Iterator[None]:
    """On Linux: the kernel kills the processes that multiprocessing spawns in the block when this process ends.

    ``WorkerExtension.end_with_parent`` comes seconds later: a child whose parent is killed outright while the child
    starts would wait for it for ever. A child asks the kernel first, then looks whether its parent is still there.

    Args:
        imports: a module of many modules that the child imports first, as in ``ablate.process.importing``.
    """
    from multiprocessing import spawn

    command_line = spawn.get_command_line
    prelude = asking_first()
    if imports is not None:
        prelude += f"import gc; gc.disable(); import {imports}; gc.freeze(); gc.enable(); "

    def command_line_with_prelude(**values: int) -> list[str]:
        command = command_line(**values)
        code = command.index("-c") + 1
        return [*command[:code], prelude + command[code], *command[code + 1 :]]

    if sys.platform == "linux":
        spawn.get_command_line = command_line_with_prelude
    try:
        yield
    finally:
        spawn.get_command_line = command_line


@contextmanager
def caller_unchanged(num_threads: int) -> Iterator[None]:
    """Run the block with ``num_threads`` intra-op threads, then restore the caller's number of threads.

    The random state of Python, numpy and torch, and the function ``torch.set_num_threads``, are restored as well.

    An in-process engine seeds all three generators when it starts, draws from torch's generator whenever it samples
    (although every request has a seed), and on a CPU replaces ``torch.set_num_threads`` with a no-op.
    """
    import numpy
    import torch

    python_state, numpy_state, set_num_threads = random.getstate(), numpy.random.get_state(), torch.set_num_threads
    callers_threads = torch.get_num_threads()
    devices = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []
    try:
        with torch.random.fork_rng(devices=devices), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            set_num_threads(num_threads)
            yield
    finally:
        torch.set_num_threads = set_num_threads
        set_num_threads(callers_threads)
        random.setstate(python_state)
        numpy.random.set_state(numpy_state)
