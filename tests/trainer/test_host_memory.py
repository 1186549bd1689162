"""What a checkpoint takes of the host's memory is what the estimate says before a node is allocated."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cases
import pytest
from jobs import logs, start_ranks, wait_for_ranks
from random_models import write_random_model

from ablate.estimate.memory import host_bytes_of_rank
from ablate.estimate.shape import shape_of
from ablate.models.architecture import read_architecture


def test_a_split_optimizers_checkpoint_takes_the_host_memory_of_the_estimate(tmp_path):
    """A second copy of what Megatron gathers would be 12 bytes of 26."""
    sizes = {"hidden_size": 384, "head_dim": 64, "intermediate_size": 2048, "num_hidden_layers": 6}
    model_dir = write_random_model(tmp_path / "model", "qwen3", tied=True, initializer_range=0.02, **sizes)
    parallel = replace(cases.layout_named("tp2_dp_distributed"), world_size=4)
    command = [str(Path(__file__).with_name("host_of_save.py")), str(model_dir), "tp2_dp_distributed", str(tmp_path)]
    ranks = start_ranks(4, command, tmp_path)
    assert wait_for_ranks(ranks, tmp_path, 200) == [0] * 4, logs(tmp_path)
    expected = host_bytes_of_rank(shape_of(vars(read_architecture(model_dir))), parallel)
    measured = [int((tmp_path / str(rank)).read_text()) for rank in range(4)]
    assert max(measured) == pytest.approx(expected, rel=0.2), measured
