"""How weights leave a device: CUDA IPC and shared memory, groups of NCCL that nobody joins, packed messages."""

from __future__ import annotations

import multiprocessing
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.one_gpu.setup import DEVICE, HAS_GPU, QWEN3_1_7B, SINGLE, SMALL, open_trainer, synchronize, write_model

MIB = 2**20
IPC = """
import os, sys, multiprocessing, torch
def take(line):
    print("sum", line.recv().float().sum().item(), flush=True)
if __name__ == "__main__":
    if sys.argv[1] == "nobody":  # an ordinary user, without rights over other processes
        os.setgid(65534); os.setuid(65534)
    ours, theirs = multiprocessing.Pipe()
    child = multiprocessing.get_context("spawn").Process(target=take, args=(theirs,))
    child.start()
    ours.send(torch.ones(1024, device="cuda"))
    child.join(20)
    sys.exit(child.exitcode if child.exitcode is not None else 99)
"""
GROUP = """
import os, sys, time, torch, torch.distributed as dist
from contextlib import nullcontext
from datetime import timedelta
from ablate.rollout.weights import buckets
if sys.argv[1] == "watchdog":
    buckets.blocking_waits = nullcontext
device = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
size = int(sys.argv[2])
store = dist.TCPStore("127.0.0.1", int(sys.argv[3]), size, True, timedelta(seconds=5), wait_for_workers=False)
start = time.monotonic()
try:
    group = buckets.open_group(store, 0, size, device, 5)
    group.broadcast(torch.ones(1024, dtype=torch.uint8, device=device))
    print("returned", flush=True)
except RuntimeError as error:
    print("raised", type(error).__name__, round(time.monotonic() - start, 1), flush=True)
time.sleep(float(sys.argv[4]))
print("alive", flush=True)
os._exit(0)
"""


def ipc() -> dict[str, Any]:
    """A CUDA tensor to another process, with both kinds of allocator, as this user and as nobody; and shared memory."""
    found: dict[str, Any] = {"shared_memory_gib_s": shared_memory_rate()}
    for allocator in ("expandable_segments:True", "expandable_segments:False") if HAS_GPU else ():
        for user in ("self", "nobody") if os.geteuid() == 0 else ("self",):
            environment = os.environ | {"PYTORCH_ALLOC_CONF": allocator, "HOME": "/tmp"}
            script = Path(tempfile.mkdtemp(prefix="ablate-one-gpu-")) / "ipc.py"  # a spawned child imports it
            script.write_text(IPC)
            script.parent.chmod(0o755)
            command = [sys.executable, str(script), user]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=40)
            words = (done.stdout + done.stderr).strip().splitlines()[-1:]
            found[f"{allocator}, {user}"] = {"exit_code": done.returncode, "says": " ".join(words)[-200:]}
    return found if HAS_GPU else found | {"cuda_ipc": "needs a GPU"}


def shared_memory_rate() -> float:
    """GiB/s of messages through ``rollout.weights.shared`` to another process, which puts them on its device."""
    from ablate.rollout.weights.shared import SharedBuffer

    num_bytes, count = (1024 * MIB, 4) if HAS_GPU else (64 * MIB, 3)
    ours, theirs = multiprocessing.Pipe()
    child = multiprocessing.get_context("spawn").Process(target=take_messages, args=(theirs, num_bytes), daemon=True)
    child.start()
    shared, seconds = SharedBuffer(), 0.0
    for number in range(count):
        message = torch.full((num_bytes,), number, dtype=torch.uint8, device=DEVICE)
        synchronize()
        start = time.perf_counter()
        ours.send((shared.path, shared.put(message)))
        assert ours.recv() == number
        seconds += time.perf_counter() - start if number else 0.0  # the first one maps and pins the memory
    child.kill()
    return (count - 1) * num_bytes / 2**30 / seconds


def take_messages(line: Any, num_bytes: int) -> None:
    from ablate.rollout.weights.shared import SharedReader

    reader = SharedReader()
    while True:
        path, num_mapped = line.recv()
        line.send(reader.take(path, num_mapped, num_bytes, DEVICE)[-1].item())


def nccl() -> dict[str, Any]:
    """A group of one broadcasts. In a group of two nobody comes: does it return, and does its process live on?"""
    waits_s = 75 if HAS_GPU else 1  # a watchdog ends its process a minute after the error
    running = {}
    for waits in ("blocking", "watchdog"):
        for size in (1, 2):
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                port = free.getsockname()[1]
            command = [sys.executable, "-c", GROUP, waits, str(size), str(port), str(waits_s if size == 2 else 0)]
            running[f"{waits}, {size} members"] = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            )
    end, found = time.monotonic() + 85, {}
    for name, process in running.items():
        try:
            out, _ = process.communicate(timeout=max(1.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            out, _ = process.communicate()
        found[name] = {"exit_code": process.returncode, "says": " ".join(out.split())}
    assert found["blocking, 1 members"]["says"].startswith("returned"), found
    return found


def hand_off() -> dict[str, Any]:
    """Weights as whole Hugging Face tensors in messages, and from the device to pageable and to pinned memory."""
    from ablate.rollout.weights.buckets import buckets

    sizes = QWEN3_1_7B if HAS_GPU else SMALL
    trainer = open_trainer(write_model(sizes, 64), SINGLE, 64)
    seconds = []
    for _ in range(2):
        synchronize()
        start = time.perf_counter()
        num_bytes = trainer.gather_weights(
            lambda tensors: sum(layout.num_bytes for layout, _ in buckets(tensors, 1024 * MIB, DEVICE))
        )
        synchronize()
        seconds.append(time.perf_counter() - start)
    found = {"packed_gib_s": num_bytes / 2**30 / min(seconds)}
    message = torch.ones(512 * MIB if HAS_GPU else 16 * MIB, dtype=torch.uint8, device=DEVICE)
    for kind in ("pageable", "pinned") if HAS_GPU else ("pageable",):
        host = torch.empty(len(message), dtype=torch.uint8, pin_memory=kind == "pinned")
        host.copy_(message)
        start = time.perf_counter()
        host.copy_(message)
        synchronize()
        found[f"to_{kind}_gib_s"] = len(message) / 2**30 / (time.perf_counter() - start)
    return found
