"""Real vLLM servers on loopback, started with the words that a run's configuration gives, killed and started again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import forks

from ablate.models.hf_config import read_hf_config
from ablate.rollout.vllm.settings import engine_arguments, server_command

from .conftest import CONTEXT, small_engine_config

START_LIMIT_S = 1200
TOKEN = "the token of these tests"
ENVIRONMENT = {
    "ABLATE_SERVER_TOKEN": TOKEN,
    "VLLM_SERVER_DEV_MODE": "1",
    "OMP_NUM_THREADS": "1",
    "TORCHDYNAMO_DISABLE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
}


@dataclass
class Server:
    """One server, with its processes in a session of their own."""

    model_dir: Path
    log: Path
    port: int = 0
    devices: str | None = None  # for CUDA_VISIBLE_DEVICES; None on a CPU
    changes: dict[str, Any] = field(default_factory=dict)  # of the engine's configuration
    process: subprocess.Popen | forks.Fork | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self.port = self.port or free_port()
        config, hf_config = small_engine_config(**self.changes), read_hf_config(self.model_dir)
        arguments = engine_arguments(config, 2 * CONTEXT, hf_config, on_cpu=self.devices is None)
        words = server_command(self.model_dir, arguments)
        with self.log.open("a") as output:
            environment = os.environ | ENVIRONMENT
            words += ["--host", "127.0.0.1", "--port", str(self.port)]
            if self.devices is None:
                self.process = forks.Fork(words, output=output, env=environment)
            else:  # a process that has asked for a GPU must not be forked
                environment["CUDA_VISIBLE_DEVICES"] = self.devices
                command = [sys.executable, *words]
                self.process = subprocess.Popen(
                    command, stdout=output, stderr=output, env=environment, start_new_session=True
                )

    def wait(self) -> None:
        deadline = time.monotonic() + START_LIMIT_S
        while status(f"{self.url}/health") != 200:
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            assert time.monotonic() < deadline, self.log.read_text()[-3000:]
            time.sleep(0.2)

    def send(self, number: signal.Signals) -> None:
        os.killpg(self.process.pid, number)

    def end(self) -> None:
        self.send(signal.SIGKILL)
        self.process.wait(timeout=600)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def status(url: str, method: str = "GET", token: str = TOKEN) -> int:
    """The status code of an answer; 0 where nobody answers."""
    request = urllib.request.Request(url, method=method, headers={"Authorization": f"Bearer {token}"} if token else {})
    try:
        with urllib.request.urlopen(request, timeout=6000) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return 0
