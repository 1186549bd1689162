"""How fast this machine's processes exchange tensors: NCCL between its GPUs, gloo between processes of its CPU."""

from __future__ import annotations

import multiprocessing
import socket
import time
from datetime import timedelta
from multiprocessing.connection import Connection

import torch
import torch.distributed as dist
import torch.multiprocessing

from ablate.config import RunConfig
from ablate.doctor.finding import OK, WARNING, Finding

MESSAGE_MIB = 64
NUM_MESSAGES = 4
TIMEOUT_S = 60
SLOW_NCCL_GIB_S = 10.0  # below what PCIe 4.0 carries one way (32 GB/s, less its overhead): NCCL goes through the host


def links(config: RunConfig) -> list[Finding]:
    """Time a broadcast, which is how new weights travel."""
    num_gpus = torch.cuda.device_count()
    backend, num_ranks = ("nccl", num_gpus) if num_gpus > 1 else ("gloo", 2)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ours, theirs = multiprocessing.get_context("spawn").Pipe(duplex=False)
    torch.multiprocessing.spawn(broadcast, args=(num_ranks, backend, port, theirs), nprocs=num_ranks)
    gib_s = ours.recv()
    says = f"{backend}: {num_ranks} processes of this node broadcast {gib_s:.1f} GiB/s in messages of {MESSAGE_MIB} MiB"
    if backend == "nccl" and gib_s < SLOW_NCCL_GIB_S:
        fix = "set NCCL_DEBUG=INFO and see which transport NCCL chose"
        return [Finding("links", WARNING, says, fix)]
    return [Finding("links", OK, says)]


def broadcast(rank: int, num_ranks: int, backend: str, port: int, line: Connection) -> None:
    address = f"tcp://127.0.0.1:{port}"
    device = torch.device("cuda", rank) if backend == "nccl" else torch.device("cpu")
    if backend == "nccl":
        torch.cuda.set_device(device)
    limit = timedelta(seconds=TIMEOUT_S)
    dist.init_process_group(backend, init_method=address, rank=rank, world_size=num_ranks, timeout=limit)
    message = torch.zeros(MESSAGE_MIB * 2**20, dtype=torch.uint8, device=device)
    dist.broadcast(message, src=0)  # the first one makes the connections
    dist.barrier()
    start = time.perf_counter()
    for _ in range(NUM_MESSAGES):
        dist.broadcast(message, src=0)
    dist.barrier()
    if device.type == "cuda":
        torch.cuda.synchronize()
    if rank == 0:
        line.send(NUM_MESSAGES * MESSAGE_MIB / 2**10 / (time.perf_counter() - start))
    dist.destroy_process_group()
