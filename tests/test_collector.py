"""The line between the leader and its collector: a failure there ends in its own words and not in silence."""

from __future__ import annotations

import itertools

import pytest
import torch

from ablate.collector.leader import Collector
from ablate.collector.process import TAKEN
from ablate.rollout.weights.shared import SharedBuffer


class Line:
    """A line whose other side takes one message of weights and then fails, as it would without memory for the next."""

    def __init__(self, answers) -> None:
        self.answers = list(answers)
        self.sent = []

    def send(self, message) -> None:
        self.sent.append(message)

    def recv(self):
        return self.answers.pop(0)  # an empty list raises: the leader would wait for ever


def test_a_collector_that_fails_in_the_middle_of_the_weights_ends_the_run_with_its_reason():
    collector = Collector.__new__(Collector)
    collector._line = Line([TAKEN, (0, False, RuntimeError("no memory for this message"))])
    collector._numbers, collector._answers, collector._version = itertools.count(), {}, None
    collector._bucket_bytes, collector._shared = 8, SharedBuffer()
    weights = [(f"weight {number}", torch.zeros(4)) for number in range(5)]
    with pytest.raises(RuntimeError, match="no memory for this message"):
        collector.load_weights(128, (0, 1), iter(weights))
    assert collector._version is None
