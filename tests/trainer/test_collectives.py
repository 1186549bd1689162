"""The log of collectives names the first call on which two ranks disagree."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from collectives import Call, first_disagreement

SUM = Call("logp", "3", (0, 1), "allreduce_", ("float32 (4,)",), ())
SENT = Call("logp", "7", (0, 1), "send", ("float32 (2, 8)",), ("dst=1",))
RECEIVED = replace(SENT, operation="recv_", settings=("src=0",))
WIDER = replace(SUM, tensors=("float32 (5,)",))
IN_BF16 = replace(RECEIVED, tensors=("bfloat16 (2, 8)",))


def test_ranks_that_call_the_same_agree_whatever_other_groups_do():
    own = replace(SUM, group="4", ranks=(0,))
    assert first_disagreement([[own, SUM, SENT], [SUM, RECEIVED]]) is None


@pytest.mark.parametrize(
    ("ours", "theirs", "sentence"),
    [
        ([SUM, SUM], [SUM], "makes 1 calls, the other 2"),
        ([SUM], [WIDER], r"call 0 is .*\(4,\).*\(5,\)"),
        ([SUM], [replace(SUM, operation="broadcast_")], "allreduce_.*broadcast_"),
        ([SENT], [], "from rank 0 to rank 1"),
        ([SENT], [IN_BF16], "float32.*bfloat16"),
        ([SUM, SENT], [RECEIVED, SUM, RECEIVED], "from rank 0 to rank 1"),
    ],
    ids=["one_more", "another_shape", "another_operation", "never_received", "another_type", "one_more_received"],
)
def test_a_disagreement_is_named(ours, theirs, sentence):
    assert re.search(sentence, first_disagreement([ours, theirs]))
