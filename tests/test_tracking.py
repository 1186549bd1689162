"""W&B as a mirror of metrics.jsonl."""

from __future__ import annotations

import os
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from ablate.cli import compose
from ablate.config import parse
from ablate.errors import UserError
from ablate.tracking import open_mirror

MIRRORED = """
import sys
from pathlib import Path
from ablate.cli import compose
from ablate.config import parse
from ablate.tracking import open_mirror
from ablate.types import Completion, Problem, RolloutGroup, Verdict, VerdictKind

path = Path(sys.argv[1]) / "experiment" / "cell" / "seed0"
path.mkdir(parents=True)
config = parse(compose(["logging.wandb=offline"]))
mirror = open_mirror(config.logging, path, {"seed": 0})
completion = Completion("p1", 0, 0, (1,), (2,), (0.0,), "text", finished=True)
verdict = Verdict(VerdictKind.accepted, 1, 1, None, 0.0, 0.0, 0.0)
group = RolloutGroup(Problem("p1", "", (), "easy"), (completion,), (verdict,))
mirror.log_completions(1, [group], 4)
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
    subprocess.run([sys.executable, "-c", MIRRORED, str(tmp_path)], env=environment, check=True)
    assert list(tmp_path.glob("experiment/cell/seed0/wandb/offline-run-*/run-*.wandb"))
    assert received == []
    assert list(tmp_path.glob("experiment/cell/seed0/wandb/offline-run-*/files/media/table/completions_*.json"))


def test_online_without_a_key_is_one_sentence_before_anything_starts(tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))  # no ~/.netrc
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    path = tmp_path / "experiment" / "cell" / "seed0"
    path.mkdir(parents=True)
    config = parse(compose(["logging.wandb=online"]))
    with pytest.raises(
        UserError, match=r"logging\.wandb=online: W&B refuses .*: run wandb login, or set logging\.wandb="
    ):
        open_mirror(config.logging, path, {"seed": 0})
