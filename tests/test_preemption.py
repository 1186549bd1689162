"""A process that is preempted leaves whatever it waits for, and only then."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from ablate.process.preemption import (
    STOP_SIGNALS,
    Preempted,
    noted_signals,
    raise_if_preempted,
    unless_preempted,
)


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_signal_is_noted_and_forgotten_with_the_block(number):
    before = signal.getsignal(number)
    with noted_signals() as received:
        raise_if_preempted()
        os.kill(os.getpid(), number)
        assert received == [number]
        with pytest.raises(Preempted):
            raise_if_preempted()
    raise_if_preempted()
    assert signal.getsignal(number) == before


def test_requests_to_servers_are_cancelled_when_the_process_is_asked_to_stop():
    ended = []

    async def request() -> None:
        try:
            os.kill(os.getpid(), signal.SIGUSR1)
            await asyncio.sleep(600)
        finally:
            ended.append("cancelled")

    with noted_signals(), pytest.raises(Preempted):
        asyncio.run(unless_preempted(request()))
    assert ended == ["cancelled"]


def test_without_a_signal_results_and_errors_pass():
    async def answer() -> int:
        return 7

    async def fail() -> None:
        raise ValueError("no")

    with noted_signals():
        assert asyncio.run(unless_preempted(answer())) == 7
        with pytest.raises(ValueError, match="no"):
            asyncio.run(unless_preempted(fail()))
