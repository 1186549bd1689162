"""How fast this machine's processes exchange tensors: NCCL between its GPUs, gloo between processes of its CPU."""

from __future__ import annotations

import multiprocessing
import os
import socket
import time
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing

from ablate.config import RunConfig
from ablate.doctor.finding import NOT_NEEDED, OK, WARNING, Finding
from ablate.doctor.machine import meeting_place
from ablate.files import write_atomic
from ablate.rollout.vllm.process import children_end_with_us

MESSAGE_MIB = 64
NUM_MESSAGES = 4
TIMEOUT_S = 60
NODES_TIMEOUT_S = 240  # for the other nodes to come to this check
SLOW_NETWORK_GIB_S = 5.0  # below half of one 100 Gb/s adapter: NCCL goes through TCP
SLOW_NCCL_GIB_S = 10.0  # below what PCIe 4.0 carries one way (32 GB/s, less its overhead): NCCL goes through the host


def links_between_nodes(config: RunConfig) -> list[Finding]:
    """In an allocation of several nodes: a broadcast between one process of each, by gloo, and by NCCL if it has GPUs.

    Every node runs its own doctor. The first one opens a store and leaves its address on the shared disk.
    """
    check = "links between nodes"
    rank, size = int(os.environ.get("SLURM_PROCID", "0")), int(os.environ.get("SLURM_JOB_NUM_NODES", "1"))
    if "SLURM_JOB_ID" not in os.environ or size == 1:
        return [Finding(check, NOT_NEEDED, "one node")]
    meeting = meeting_place(config)
    store = store_of_nodes(meeting.with_name(f"{meeting.name}-store"), rank, size)
    rates = {}
    for backend in ("gloo", "nccl") if torch.cuda.is_available() else ("gloo",):
        device = torch.device("cuda", 0) if backend == "nccl" else torch.device("cpu")
        rates[backend] = rate_of(backend, dist.PrefixStore(backend, store), rank, size, device)
    shown = ", ".join(f"{backend} {gib_s:.1f} GiB/s" for backend, gib_s in rates.items())
    says = f"{size} nodes broadcast to each other: {shown}"
    if rates.get("nccl", SLOW_NETWORK_GIB_S) < SLOW_NETWORK_GIB_S:
        fix = "set NCCL_IB_HCA and NCCL_SOCKET_IFNAME in slurm/env.sh; NCCL_DEBUG=INFO says which transport NCCL chose"
        return [Finding(check, WARNING, says, fix)]
    return [Finding(check, OK, says)]


def store_of_nodes(path: Path, rank: int, size: int) -> dist.TCPStore:
    """The store at which the processes of all nodes meet."""
    timeout = timedelta(seconds=NODES_TIMEOUT_S)
    if rank == 0:
        store = dist.TCPStore("0.0.0.0", 0, size, True, timeout, wait_for_workers=False)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, f"{socket.gethostname()} {store.port}")
        return store
    end = time.monotonic() + NODES_TIMEOUT_S
    while not path.exists():
        if time.monotonic() > end:
            raise TimeoutError(f"the first node has left no address at {path} for {NODES_TIMEOUT_S} s")
        time.sleep(0.5)
    host, port = path.read_text().split()
    return dist.TCPStore(host, int(port), size, False, timeout)


def links(config: RunConfig) -> list[Finding]:
    """Time a broadcast, which is how new weights travel."""
    num_gpus = torch.cuda.device_count()
    backend, num_ranks = ("nccl", num_gpus) if num_gpus > 1 else ("gloo", 2)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ours, theirs = multiprocessing.get_context("spawn").Pipe(duplex=False)
    with children_end_with_us():  # a rank that hangs in NCCL takes no other signal, and would keep its GPU
        torch.multiprocessing.spawn(broadcast, args=(num_ranks, backend, port, theirs), nprocs=num_ranks)
    gib_s = ours.recv()
    says = f"{backend}: {num_ranks} processes of this node broadcast {gib_s:.1f} GiB/s in messages of {MESSAGE_MIB} MiB"
    if backend == "nccl" and gib_s < SLOW_NCCL_GIB_S:
        fix = "set NCCL_DEBUG=INFO and see which transport NCCL chose"
        return [Finding("links", WARNING, says, fix)]
    return [Finding("links", OK, says)]


def broadcast(rank: int, num_ranks: int, backend: str, port: int, line: Connection) -> None:
    device = torch.device("cuda", rank) if backend == "nccl" else torch.device("cpu")
    if backend == "nccl":
        torch.cuda.set_device(device)
    store = dist.TCPStore("127.0.0.1", port, num_ranks, rank == 0, timedelta(seconds=TIMEOUT_S))
    gib_s = rate_of(backend, store, rank, num_ranks, device)
    if rank == 0:
        line.send(gib_s)


def rate_of(backend: str, store: dist.Store, rank: int, size: int, device: torch.device) -> float:
    """GiB a second of broadcasts from rank 0 to all others."""
    limit = timedelta(seconds=TIMEOUT_S)
    dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=limit)
    message = torch.zeros(MESSAGE_MIB * 2**20, dtype=torch.uint8, device=device)
    dist.broadcast(message, src=0)  # the first one makes the connections
    dist.barrier()
    start = time.perf_counter()
    for _ in range(NUM_MESSAGES):
        dist.broadcast(message, src=0)
    dist.barrier()
    if device.type == "cuda":
        torch.cuda.synchronize()
    gib_s = NUM_MESSAGES * MESSAGE_MIB / 2**10 / (time.perf_counter() - start)
    dist.destroy_process_group()
    return gib_s
