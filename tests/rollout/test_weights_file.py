"""Weights for another process are in a file without a name, which only its path in /proc leads to."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ablate.rollout.weights.file import weights_file

SHM = Path("/dev/shm")


@pytest.mark.skipif(sys.platform != "linux", reason="needs memfd_create(2)")
def test_another_process_reads_the_weights_and_nothing_stays_in_shared_memory():
    whole = torch.arange(1 << 16, dtype=torch.float32)
    before = set(SHM.iterdir())
    with weights_file([("a.weight", whole), ("b.weight", whole[3:7])], None) as path:
        content = subprocess.run(["cat", str(path)], capture_output=True, check=True).stdout
        assert set(SHM.iterdir()) <= before
    found = torch.load(io.BytesIO(content), weights_only=True)
    assert {name: tensor.tolist() for name, tensor in found.items()} == {
        "a.weight": whole.tolist(),
        "b.weight": [3, 4, 5, 6],
    }
    assert len(content) < 1.1 * whole.nbytes, "a view was written with its whole storage"
    assert not path.exists()
