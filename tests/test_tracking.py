"""W&B as a mirror of metrics.jsonl."""

from __future__ import annotations

import os
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

MIRRORED = """
import sys
from pathlib import Path
from ablate.cli import compose
from ablate.config import parse
from ablate.tracking import open_mirror

path = Path(sys.argv[1]) / "experiment" / "cell" / "seed0"
path.mkdir(parents=True)
config = parse(compose(["logging.wandb=offline"]))
mirror = open_mirror(config.logging, path, {"seed": 0})
mirror.log(1, {"train/loss": 0.5})
mirror.close()
"""


@pytest.fixture
def requests_received():
    """What a W&B server on this machine is asked for."""
    received = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            received.append(self.path)
            self.send_error(404)

        do_GET = do_POST

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1], received
    server.shutdown()


def test_an_offline_mirror_writes_its_run_and_asks_the_network_for_nothing(tmp_path, requests_received):
    port, received = requests_received
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    environment["WANDB_BASE_URL"] = f"http://127.0.0.1:{port}"
    subprocess.run([sys.executable, "-c", MIRRORED, str(tmp_path)], env=environment, check=True, timeout=60)
    assert list(tmp_path.glob("experiment/cell/seed0/wandb/offline-run-*/run-*.wandb"))
    assert received == []
