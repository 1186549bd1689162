"""Weights on the way that a large run sends them: to a vLLM server on another GPU, and to the collector's process."""

from __future__ import annotations

import multiprocessing
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from ablate.config import EngineConfig, RunConfig
from ablate.doctor.compute import judged, mean_gap
from ablate.doctor.finding import NOT_NEEDED, OK, Finding
from ablate.doctor.small_model import CONTEXT, ENGINE_MEMORY_SHARE, open_trainer, sampled_groups, write_model
from ablate.errors import UserError
from ablate.models.hf_config import read_hf_config
from ablate.objectives import build
from ablate.process.parents import guarded
from ablate.rollout.open import close_engines, open_engine
from ablate.rollout.servers.token import VARIABLE
from ablate.rollout.vllm.settings import engine_arguments, server_command
from ablate.rollout.weights.shared import SharedBuffer, SharedHandOff, SharedReader
from ablate.trainer.batching import make_batch

START_LIMIT_S = 600.0
MESSAGE_MIB, NUM_MESSAGES = 256, 4


def hand_off(config: RunConfig) -> list[Finding]:
    """A server of the run's kind on the second GPU takes a trainer's weights from the first, and samples from them.

    With ``share_gpus`` it is on the first one too, and sleeps until the weights come.
    """
    check, num_gpus = "hand-off to a server", torch.cuda.device_count()
    if config.rollout.engine.placement != "servers":
        return [Finding(check, NOT_NEEDED, f"rollout.engine.placement={config.rollout.engine.placement}")]
    shares = config.rollout.engine.share_gpus
    if num_gpus == 1 and not shares:
        return [Finding(check, NOT_NEEDED, "one GPU: the servers of the run are on other nodes")]
    os.environ.setdefault(VARIABLE, secrets.token_hex(16))
    with tempfile.TemporaryDirectory(prefix="ablate-doctor-") as scratch:
        first, second = (write_model(Path(scratch) / str(seed), seed) for seed in (1, 2))
        engine = server_config(config.rollout.engine, scratch)
        visible = os.environ.get("CUDA_VISIBLE_DEVICES") or "0,1"  # of this process, which need not begin with 0
        with server_of(
            first, engine, visible.split(",")[0 if shares else 1] if num_gpus else "", Path(scratch) / "log"
        ) as url:
            return [checked(config, first, second, replace(engine, urls=[url]))]


def checked(config: RunConfig, served: Path, trained: Path, engine_config: EngineConfig) -> Finding:
    """Hand the weights of ``trained`` to the server, which has those of ``served``, and compare what both compute."""
    engine = open_engine(served, engine_config, CONTEXT, CONTEXT)
    shares = engine_config.share_gpus
    trainer = open_trainer(config, trained)
    world, start = trainer.world, time.perf_counter()
    if shares:
        by_file = engine_config.weight_transfer == "file"
        shared = SharedHandOff(engine_config.bucket_mib * 2**20, world.gathered, world.rank, by_file=by_file)
        trainer.gather_weights(engine.load_weights, shared.messages)
    else:
        trainer.gather_weights(engine.load_weights)
    seconds = time.perf_counter() - start
    batch = make_batch(sampled_groups(engine, config), build(config.objective))
    gap = mean_gap(trainer.logp(batch)[0], batch.rollout_logp_BT, batch)
    close_engines()
    precision = config.parallel.precision
    uses_memory = shares and engine_config.weight_transfer != "file"
    way, differ = "memory" if uses_memory else engine_config.weight_transfer, f"{gap:.1e} nats a token ({precision})"
    says = f"{way}: {seconds:.2f} s; both then differ by {differ}"
    return judged("hand-off to a server", gap, precision, says)


def server_config(config: EngineConfig, scratch: str) -> EngineConfig:
    return replace(
        config,
        placement="servers",
        weights_dir=scratch,
        kv_cache_dtype="auto",
        tensor_parallel=1,
        kv_cache_gib=min(config.kv_cache_gib, 0.125),
        gpu_memory_utilization=min(config.gpu_memory_utilization, ENGINE_MEMORY_SHARE),
        max_num_seqs=16,
    )


@contextmanager
def server_of(model_dir: Path, config: EngineConfig, devices: str, log: Path) -> Iterator[str]:
    """Run a server on loopback; yields its address once it is up.

    Raises:
        UserError: with the end of its log, if it ends or is not up in time.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = engine_arguments(config, CONTEXT, read_hf_config(model_dir), on_cpu=not devices)
    words = [*server_command(model_dir, arguments), "--host", "127.0.0.1", "--port", str(port)]
    environment = os.environ | {"VLLM_SERVER_DEV_MODE": "1", "CUDA_VISIBLE_DEVICES": devices}
    ends_with_us, ours = os.pipe()  # the kernel closes ``ours`` with this process, however that ends
    with log.open("wb") as output:
        process = subprocess.Popen(
            guarded([sys.executable, *words]),
            env=environment,
            stdin=ends_with_us,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    os.close(ends_with_us)
    try:
        end = time.monotonic() + START_LIMIT_S
        while not accepts(port):
            if process.poll() is not None or time.monotonic() > end:
                last = " ".join(log.read_text(errors="replace").split())[-400:]
                raise UserError(f"the server did not come up, and its log ends with: {last}")
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        os.close(ours)


def accepts(port: int) -> bool:
    """Whether somebody listens: vLLM listens once its engine has started."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def collector_memory(config: RunConfig) -> list[Finding]:
    """One message after the other to another process, as the collector takes weights at ``rollout.lag=1``."""
    if not config.rollout.lag:
        return [Finding("collector", NOT_NEEDED, "rollout.lag=0: the leader hands the weights on itself")]
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=take_messages, args=(theirs,), daemon=True)
    process.start()
    theirs.close()
    shared, device = SharedBuffer(), torch.device("cuda" if torch.cuda.is_available() else "cpu")
    seconds = 0.0
    for number in range(NUM_MESSAGES):
        message = torch.full((MESSAGE_MIB * 2**20,), number, dtype=torch.uint8, device=device)
        start = time.perf_counter()
        ours.send((shared.path, shared.put(message)))
        arrived = ours.recv()
        seconds += (time.perf_counter() - start) if number else 0.0  # the first one maps the memory
        if arrived != number:
            raise RuntimeError(f"message {number} arrived as {arrived}")
    process.kill()
    process.join()
    gib_s = (NUM_MESSAGES - 1) * MESSAGE_MIB / 2**10 / seconds
    return [Finding("collector", OK, f"{gib_s:.1f} GiB/s of weights through shared memory to another process")]


def take_messages(line: Connection) -> None:
    """In the other process: answer every message with its last byte."""
    reader, device = SharedReader(), torch.device("cuda" if torch.cuda.is_available() else "cpu")
    while True:
        path, num_mapped = line.recv()
        line.send(reader.take(path, num_mapped, MESSAGE_MIB * 2**20, device)[-1].item())
