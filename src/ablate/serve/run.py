"""Keep the servers of one node running until this process is preempted; none of them outlives it."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from ablate.errors import UserError
from ablate.process.parents import guarded
from ablate.rollout.servers.token import server_token
from ablate.serve.lines import Server

POLL_S = 0.5
PAUSE_S = 10.0  # before a server that ended is started again
END_S = 20.0  # for a server to end by itself


def run_servers(servers: Sequence[Server], host: str, first_port: int, *, starts_again: bool = True) -> None:
    """Start every server, and start each one again that ends, until SIGTERM or SIGINT.

    Args:
        starts_again: else one that ends stays away. A server that starts takes memory of its GPU, and a rank of the
            trainer that shares the GPU would lack it.

    Raises:
        UserError: without ABLATE_SERVER_TOKEN.
    """
    server_token()  # said now, and not by every server
    asked: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: asked.append(number))
    ends_with_us, ours = os.pipe()  # the kernel closes ``ours`` with this process, however that ends
    start = partial(start_guarded, ends_with_us, host, first_port)
    running = {server: start(server) for server in servers}
    due: dict[Server, float] = {}  # when an ended server is started again
    try:
        while not asked:
            time.sleep(POLL_S)
            for server, process in running.items():
                if process.poll() is not None and server not in due:
                    end_group(process, signal.SIGKILL)  # its engine's process may be left, and holds the GPU
                    print(f"server {server.offset} ended with exit code {process.returncode}", file=sys.stderr)
                    due[server] = time.monotonic() + PAUSE_S if starts_again else math.inf
            for server in [server for server, when in due.items() if when <= time.monotonic()]:
                del due[server]
                running[server] = start(server)
    finally:
        end(running.values())
        os.close(ours)
        os.close(ends_with_us)


def start_guarded(ends_with_us: int, host: str, first_port: int, server: Server) -> subprocess.Popen:
    """Start a server that is killed with its engine's process when ``ends_with_us`` closes."""
    devices = own_devices(server.devices, os.environ.get("CUDA_VISIBLE_DEVICES", ""))
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": devices, "VLLM_SERVER_DEV_MODE": "1"}
    words = [*server.words, "--host", host, "--port", str(first_port + server.offset)]
    command = guarded([sys.executable, *words])
    return subprocess.Popen(command, env=environment, start_new_session=True, stdin=ends_with_us)


def own_devices(devices: str, visible: str) -> str:
    """The devices of a server, out of those that this process may use: on a shared machine these need not be the first.

    Args:
        devices: numbers from 0, such as ``"4,5"``, or ``"none"``.
        visible: CUDA_VISIBLE_DEVICES of this process; empty where it may use all.

    Raises:
        UserError: if this process may use fewer.
    """
    if devices == "none" or not visible:
        return "" if devices == "none" else devices
    names = visible.split(",")
    numbers = [int(device) for device in devices.split(",")]
    if max(numbers) >= len(names):
        raise UserError(
            f"CUDA_VISIBLE_DEVICES={visible} names {len(names)} GPUs, and a server needs number {max(numbers)} of "
            "them, from 0: name more, or lower the number of GPUs"
        )
    return ",".join(names[number] for number in numbers)


def end(processes: Sequence[subprocess.Popen]) -> None:
    """Ask every server to end, and kill those that do not."""
    processes = list(processes)
    for process in processes:
        end_group(process, signal.SIGTERM)
    deadline = time.monotonic() + END_S
    for process in processes:
        with suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, deadline - time.monotonic()))
        end_group(process, signal.SIGKILL)
        process.wait()


def end_group(process: subprocess.Popen, number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)
