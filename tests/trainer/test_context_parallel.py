"""Context parallelism, what it cuts and how it is joined; whole steps under it are in test_parity.py."""

from __future__ import annotations

from dataclasses import replace

import cases
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ablate.trainer.parallel import context_parallel, layout

SIZES = st.integers(1, 4)
PARTS = st.lists(st.integers(1, 6), min_size=1, max_size=5)


@given(PARTS, SIZES)
def test_every_position_is_held_by_one_rank(parts, size):
    lengths = [2 * size * part for part in parts]
    held = torch.cat([context_parallel.positions_held(lengths, rank, size) for rank in range(size)])
    assert sorted(held.tolist()) == list(range(sum(lengths)))


@given(PARTS, SIZES)
def test_every_rank_has_the_same_work_in_every_row(parts, size):
    """Causal attention at position p compares p + 1 pairs."""
    for part in parts:
        length = 2 * size * part
        pairs = {int((context_parallel.positions_held([length], rank, size) + 1).sum()) for rank in range(size)}
        assert pairs == {length * (length + 1) // 2 // size}


def test_rows_are_cut_as_megatron_s_rotary_embedding_assumes():
    assert context_parallel.positions_held([8, 4], rank=0, size=2).tolist() == [0, 1, 6, 7, 8, 11]
    assert context_parallel.positions_held([8, 4], rank=1, size=2).tolist() == [2, 3, 4, 5, 9, 10]


@pytest.mark.parametrize(
    ("changes", "row", "sequence"),
    [
        ({}, 1, 1),
        ({"tensor": 4}, 1, 1),
        ({"tensor": 4, "sequence_parallel": True}, 1, 4),
        ({"context": 2}, 4, 4),
        ({"context": 2, "tensor": 2, "sequence_parallel": True}, 4, 4),
        ({"context": 2, "tensor": 8, "sequence_parallel": True}, 4, 16),
        ({"context": 3, "tensor": 2, "sequence_parallel": True}, 6, 6),
        ({"fp8": "hybrid"}, 1, 32),
        ({"fp8": "hybrid", "context": 2, "tensor": 8, "sequence_parallel": True}, 4, 512),
    ],
)
def test_lengths_are_divisible_by_the_number_of_ranks_that_share_them(changes, row, sequence):
    parallel = replace(cases.SINGLE, **changes)
    assert (layout.row_multiple(parallel), layout.sequence_multiple(parallel)) == (row, sequence)
    shares = parallel.tensor if parallel.sequence_parallel else 1
    assert sequence % (parallel.context * shares) == sequence % row == 0
