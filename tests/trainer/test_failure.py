"""A rank that fails or dies ends the whole job, and the others say who was first instead of hanging."""

from __future__ import annotations

import re
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jobs
import pytest
import torch.distributed as dist

from ablate.trainer.parallel.failure import EXIT_CODE, Watch

CASES = ["exception", "exception_while_sampling", "leader_mistake", "killed", "killed_while_sampling"]
CASES += ["leader_killed", "stopped_while_sampling", "hung", "slow_leader", "nothing"]
STORE_OUTSIDE = ["leader_killed"]  # as torchrun hosts it
PROGRAM = Path(__file__).with_name("failing_rank.py")
LIMIT_S = 600  # a busy machine takes long to start processes; the job's own limits are seconds


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """Exit codes and outputs of both ranks, by case; four jobs at a time, because they mostly wait."""

    def run(what: str) -> tuple[list[int], list[str]]:
        logs = tmp_path_factory.mktemp(what)
        store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False) if what in STORE_OUTSIDE else None
        ranks = jobs.start_ranks(2, [str(PROGRAM), what], logs, store)
        if what.startswith("stopped"):
            jobs.wait_for_ranks(ranks[:1], logs, LIMIT_S)
            ranks[1].kill()
        codes = jobs.wait_for_ranks(ranks, logs, LIMIT_S)
        return codes, [Path(logs / f"rank{rank}.log").read_text() for rank in range(2)]

    with ThreadPoolExecutor(4) as pool:
        return dict(zip(CASES, pool.map(run, CASES), strict=True))


def test_without_a_failure_both_ranks_end_well(ended):
    codes, outputs = ended["nothing"]
    assert codes == [0, 0], outputs


@pytest.mark.parametrize("what", ["exception", "exception_while_sampling"])
def test_an_exception_on_one_rank_ends_the_other_with_its_cause(ended, what):
    codes, (other, culprit) = ended[what]
    assert all(codes)
    assert "Traceback" in culprit
    assert culprit.index("ValueError: the cause of it all") < culprit.index("error: rank 1 failed")
    assert "error: rank 1 failed: ValueError: the cause of it all" in other
    assert "Traceback" not in other


def test_a_user_s_mistake_on_the_leader_is_one_sentence_of_the_leader(ended):
    codes, (leader, other) = ended["leader_mistake"]
    assert codes[0] == 2
    assert codes[1]
    assert "error: rank 0 failed: a rule, a value and the fix" in leader
    assert "Traceback" not in leader
    assert "error" not in other.lower()


def test_a_killed_rank_is_named_by_a_rank_whose_collective_breaks(ended):
    codes, (other, _) = ended["killed"]
    assert codes == [2, -signal.SIGKILL]
    assert "error: rank 1 ended without a word: it was killed" in other
    assert "Connection closed" not in other


def test_a_killed_rank_is_missed_even_by_a_rank_that_waits_for_nothing(ended):
    codes, (other, _) = ended["killed_while_sampling"]
    assert codes == [2, -signal.SIGKILL]
    assert "error: rank 1 ended without a word: it was killed" in other


def test_the_death_of_the_leader_is_known_without_waiting_for_its_heartbeat(ended):
    codes, (_, other) = ended["leader_killed"]
    assert codes == [-signal.SIGKILL, EXIT_CODE]
    assert other.count("error: rank 0 ended without a word: it was killed") == 1
    assert "silent" not in other
    assert "Traceback" not in other


def test_a_rank_that_lives_and_is_silent_is_named_after_its_time(ended):
    codes, (other, _) = ended["stopped_while_sampling"]
    assert codes == [2, -signal.SIGKILL]
    assert "rank 1 has been silent for 5 s: it was killed or its node is gone" in other


def test_waiting_for_the_leader_may_take_longer_than_a_collective(ended):
    codes, outputs = ended["slow_leader"]
    assert codes == [0, 0], outputs
    assert all("sampled by rank 0" in output for output in outputs)


def test_a_rank_that_lives_but_never_comes_to_a_collective_is_named_with_its_place(ended):
    codes, outputs = ended["hung"]
    assert codes == [2, 2], outputs
    assert re.search(r"error: rank 1 did not come to .*: rank 1 is at failing_rank.py:\d+ \(go_wrong\)", outputs[0])
    assert all("Traceback" not in output for output in outputs)


def test_a_rank_keeps_the_cause_it_saw_when_the_process_that_hosts_the_store_has_ended():
    class StoreOfAnEndedProcess:
        def add(self, key: str, amount: int) -> int:
            raise dist.DistNetworkError("Connection reset by peer")

    watch = Watch.__new__(Watch)
    watch.rank = 1
    watch.store = StoreOfAnEndedProcess()
    assert watch.claim("rank 1 failed: the cause of it all") == "rank 1 failed: the cause of it all"
