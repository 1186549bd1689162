"""Servers for one benchmark: vLLM's on this machine's cores, or such as only sleep."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

START_LIMIT_S = 300.0
ENVIRONMENT = {
    "VLLM_SERVER_DEV_MODE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # else vLLM binds the worker of every server to the same core
    "OMP_NUM_THREADS": "1",
    "TORCHDYNAMO_DISABLE": "1",
    "HF_HUB_OFFLINE": "1",
}


@contextmanager
def vllm_servers(count: int, overrides: Sequence[str], logs: Path) -> Iterator[list[str]]:
    """Start ``count`` vLLM servers with the words that ablate.serve gives for this configuration; yield their urls."""
    command = [sys.executable, "-m", "ablate.serve", "1", "0", *overrides]
    line = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    words = json.loads(line.split(" ", 3)[3])
    ports = [free_port() for _ in range(count)]
    with servers([[*words, "--host", "127.0.0.1", "--port", str(port)] for port in ports], ports, logs) as urls:
        yield urls


@contextmanager
def sleeping_servers(count: int, model_dir: Path, longest_s: float, logs: Path) -> Iterator[list[str]]:
    """Start ``count`` servers whose longest responses last ``longest_s``; yield their urls."""
    ports = [free_port() for _ in range(count)]
    module = ["-m", "benchmarks.overlap.sleeping_server", str(model_dir)]
    with servers([[*module, str(port), str(longest_s)] for port in ports], ports, logs) as urls:
        yield urls


@contextmanager
def batching_servers(count: int, model_dir: Path, spec: str, logs: Path) -> Iterator[list[str]]:
    """Start ``count`` servers that batch as the estimate's engines do; yield their urls."""
    ports = [free_port() for _ in range(count)]
    module = ["-m", "benchmarks.overlap.batching_server", str(model_dir)]
    with servers([[*module, str(port), spec] for port in ports], ports, logs) as urls:
        yield urls


@contextmanager
def servers(commands: Sequence[Sequence[str]], ports: Sequence[int], logs: Path) -> Iterator[list[str]]:
    os.environ.setdefault("ABLATE_SERVER_TOKEN", secrets.token_hex(16))  # the runs of this process inherit it
    urls = [f"http://127.0.0.1:{port}" for port in ports]
    with ExitStack() as stack:
        processes = []
        for number, words in enumerate(commands):
            output = stack.enter_context((logs / f"server{number}.log").open("a"))
            process = subprocess.Popen(
                [sys.executable, *words],
                stdout=output,
                stderr=output,
                env=os.environ | ENVIRONMENT,
                start_new_session=True,
            )
            stack.callback(end, process)
            processes.append(process)
        deadline = time.monotonic() + START_LIMIT_S
        while not all(map(is_up, urls)):
            ended = [process.args for process in processes if process.poll() is not None]
            if ended or time.monotonic() > deadline:
                raise RuntimeError(f"servers do not come up, see {logs}/server*.log: {ended or urls}")
            time.sleep(0.2)
        yield urls


def end(process: subprocess.Popen) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def is_up(url: str) -> bool:
    token = os.environ["ABLATE_SERVER_TOKEN"]
    request = urllib.request.Request(f"{url}/health", headers={"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status == 200
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False
