"""Groups: sampled by the real engine, verified while others are sampled, and the same in any order of ending."""

from __future__ import annotations

import random
import threading
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from itertools import cycle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from ablate.config import RolloutConfig, section
from ablate.data.tokenizer import load_tokenizer
from ablate.errors import UserError
from ablate.rollout.collect import GroupsInOrder, collect_groups, num_counted
from ablate.rollout.draws import Conditions, draw_samples
from ablate.rollout.engine import Sampled
from ablate.rollout.in_flight import Sampler
from ablate.seeding import derive_seed
from ablate.types import Problem, Prompt, RolloutGroup, TestCase, VerdictKind

from .scripted_verifier import ScriptedVerifier, by_problem, by_text, verdict

CONTEXT = 40
CONF = Path(__file__).parents[2] / "conf"


def is_mixed(rewards) -> bool:
    return len(set(rewards)) > 1


@pytest.fixture(scope="session")
def tasks(tiny_checkpoint):
    """Twelve problems p0 .. p11 with prompts of different lengths."""
    tokenizer = load_tokenizer(tiny_checkpoint)
    made = []
    for index in range(12):
        problem = Problem(id=f"p{index}", statement="x" * index, tests=(TestCase("1\n", "1\n"),), difficulty="easy")
        text = "add " + "ab" * (index % 5)
        made.append((problem, Prompt(problem.id, text, tuple(tokenizer(text)["input_ids"]))))
    return made


@pytest.fixture(scope="session")
def config():
    values = OmegaConf.load(CONF / "rollout" / "tiny.yaml")
    changes = {"prompts_per_step": 4, "samples_per_prompt": 4, "max_draws": 16, "infrastructure_retries": 2}
    return section(RolloutConfig, OmegaConf.merge(values, changes), "rollout")


@pytest.fixture
def collect(engine, tasks, config, tiny_checkpoint):
    """``collect(verifier, ...)``: one step on p0, p1, ... with what is not given left as usual."""
    tokenizer = load_tokenizer(tiny_checkpoint)

    def collect_step(
        verifier,
        *,
        keeps=lambda rewards: True,
        step=3,
        seed=0,
        repeat=0,
        problems=tasks,
        share_kept=1.0,
        engine=engine,
        **changes,
    ):
        return collect_groups(
            Sampler(engine, verifier, lambda ids: tokenizer.decode(ids, skip_special_tokens=True)),
            Conditions(CONTEXT, config.temperature, config.top_p, config.infrastructure_retries),
            cycle(problems),
            config=replace(config, **changes),
            keeps=keeps,
            seed=seed,
            step=step,
            repeat=repeat,
            share_kept=share_kept,
        )

    return collect_step


def ids_of(groups):
    return [group.problem.id for group in groups]


def test_a_group_holds_one_problems_samples_in_order_each_with_its_own_seed(collect, tasks):
    groups, stats = collect(ScriptedVerifier(by_text))
    assert ids_of(groups) == ["p0", "p1", "p2", "p3"]
    for group, (problem, prompt) in zip(groups, tasks, strict=False):
        assert [completion.sample for completion in group.completions] == [0, 1, 2, 3]
        for completion in group.completions:
            assert completion.seed == derive_seed(0, "rollout", 3, problem.id, completion.sample)
            assert completion.prompt_ids == prompt.token_ids
            assert len(completion.logp) == len(completion.response_ids)
        expected = [by_text(problem, completion.text) for completion in group.completions]
        assert [each.kind for each in group.verdicts] == expected
    assert stats.num_groups == 4
    assert not stats.is_short


def test_another_repeat_draws_the_same_problems_with_other_random_numbers(collect):
    usual, _ = collect(ScriptedVerifier(by_text), repeat=0)
    assert [group.completions for group in usual] == [
        group.completions for group in collect(ScriptedVerifier(by_text))[0]
    ]
    other, _ = collect(ScriptedVerifier(by_text), repeat=1)
    assert ids_of(other) == ids_of(usual)
    seeds = [{each.seed for group in groups for each in group.completions} for groups in (usual, other)]
    assert not seeds[0] & seeds[1]


def test_prompt_and_response_together_end_at_the_context_limit(collect):
    groups, stats = collect(ScriptedVerifier(by_text))
    completions = [completion for group in groups for completion in group.completions]
    cut_off = [completion for completion in completions if not completion.finished]
    assert cut_off
    assert all(len(each.prompt_ids) + len(each.response_ids) <= CONTEXT for each in completions)
    assert all(len(each.prompt_ids) + len(each.response_ids) == CONTEXT for each in cut_off)
    assert stats.truncated == len(cut_off) / len(completions)


def test_a_step_is_a_function_of_run_seed_and_step(collect):
    once, _ = collect(ScriptedVerifier(by_text))
    again, _ = collect(ScriptedVerifier(by_text))
    other_step, _ = collect(ScriptedVerifier(by_text), step=4)
    other_seed, _ = collect(ScriptedVerifier(by_text), seed=1)
    assert once == again
    assert once != other_step
    assert once != other_seed


def test_groups_do_not_depend_on_when_verdicts_arrive(collect):
    """Verdicts of p0 wait until another problem's have arrived."""
    someone_answered = threading.Event()

    def late_for_p0(problem, text):
        if problem.id == "p0":
            assert someone_answered.wait(timeout=600)
        someone_answered.set()
        return by_text(problem, text)

    at_once, _ = collect(ScriptedVerifier(by_text), keeps=is_mixed)
    with ThreadPoolExecutor(16) as threads:
        late, _ = collect(ScriptedVerifier(late_for_p0, threads), keeps=is_mixed)
    assert late == at_once


def test_a_finished_completion_is_verified_before_the_last_one_is_sampled(collect):
    events = []

    class OrderedVerifier(ScriptedVerifier):
        def submit_answer(self, problem, text):
            events.append("submitted")
            future = super().submit_answer(problem, text)
            future.add_done_callback(lambda _: events.append("verified"))
            return future

    with ThreadPoolExecutor(2) as threads:
        collect(OrderedVerifier(by_text, threads))
    assert events.count("submitted") == events.count("verified") == 16
    assert events.index("verified") < len(events) - 1 - events[::-1].index("submitted")


def test_dropped_groups_are_replaced_until_the_batch_is_full(collect):
    verifier = ScriptedVerifier(by_problem(p0="accepted", p2="wrong_answer", p3="time_limit"))
    groups, stats = collect(verifier, keeps=is_mixed)
    assert len(groups) == 4
    assert all(is_mixed(group.rewards) for group in groups)
    assert ids_of(groups) == sorted(ids_of(groups), key=lambda name: int(name[1:]))  # the order of drawing
    assert not {"p0", "p2", "p3"} & set(ids_of(groups))
    assert stats.num_groups_all_right >= 1
    assert stats.num_groups_all_wrong >= 2
    assert stats.num_groups == 4 + stats.num_groups_filtered + stats.num_groups_failed
    assert ids_of(groups)[-1] == f"p{stats.num_groups - 1}", "counted up to the last accepted group"


def test_rates_are_of_every_rollout_up_to_the_last_accepted_group_unless_they_say_otherwise(collect):
    rule = by_problem(p0="accepted", p1="accepted", p2="accepted", p3="accepted")
    verifier = ScriptedVerifier(rule)
    groups, stats = collect(verifier, keeps=is_mixed, share_kept=0.3, max_draws=12)
    problems = {f"p{index}" for index in range(stats.num_groups)}
    passed = [rule(Problem(name, "", (), ""), text) == "accepted" for name, text in verifier.asked if name in problems]
    trained = [reward > 0 for group in groups for reward in group.rewards]
    assert len(passed) == 4 * stats.num_groups > len(trained)
    assert stats.pass_rate == sum(passed) / len(passed)
    assert stats.pass_rate_trained == sum(trained) / len(trained)
    assert stats.metrics()["rollout/pass_rate"] == stats.pass_rate


def test_a_problem_drawn_again_in_the_same_step_is_sampled_with_new_seeds(collect, tasks):
    groups, _ = collect(ScriptedVerifier(by_text), problems=tasks[:1])
    completions = [completion for group in groups for completion in group.completions]
    assert [completion.sample for completion in completions] == list(range(16))
    assert [completion.seed for completion in completions] == [
        derive_seed(0, "rollout", 3, "p0", sample) for sample in range(16)
    ]


def test_a_batch_that_stays_short_is_trained_or_refused_as_configured(collect):
    verifier = ScriptedVerifier(by_problem(**{f"p{index}": "wrong_answer" for index in range(1, 12)}))
    groups, stats = collect(verifier, keeps=is_mixed, on_short_batch="train", max_draws=8)
    assert len(groups) < 4
    assert stats.is_short
    assert stats.num_groups == 8
    with pytest.raises(UserError, match=r"of 4 groups after rollout\.max_draws=8 draws .*: raise it"):
        collect(verifier, keeps=is_mixed, on_short_batch="error", max_draws=8)


def failing(num_failures: int, problem_ids: set[str]):
    """An infrastructure that fails the first times it is asked about a program of these problems."""
    asked = Counter()

    def rule(problem, text):
        asked[problem.id, text] += 1
        fails = problem.id in problem_ids and asked[problem.id, text] <= num_failures
        return VerdictKind.infrastructure_error if fails else by_text(problem, text)

    return rule


def test_a_passing_failure_of_the_infrastructure_changes_nothing(collect):
    healthy, _ = collect(ScriptedVerifier(by_text))
    verifier = ScriptedVerifier(failing(2, {"p1", "p2"}))
    groups, stats = collect(verifier)
    assert groups == healthy
    assert stats.num_infrastructure_errors == 0
    assert len(verifier.asked) == 16 + 2 * 8


def test_a_group_without_a_verdict_is_dropped_counted_and_replaced(collect):
    groups, stats = collect(ScriptedVerifier(failing(100, {"p1"})))
    assert ids_of(groups) == ["p0", "p2", "p3", "p4"]
    assert all(each.kind is not VerdictKind.infrastructure_error for group in groups for each in group.verdicts)
    assert stats.num_groups_failed == 1
    assert stats.num_infrastructure_errors == 4
    assert stats.num_groups_filtered == 0


def test_a_prompt_that_fills_the_context_is_the_users_mistake(collect, tasks):
    problem, _ = tasks[0]
    too_long = (problem, Prompt(problem.id, "", tuple(range(3, 3 + CONTEXT))))
    with pytest.raises(UserError, match=r"problem p0 has 40 tokens"):
        collect(ScriptedVerifier(by_text), problems=[too_long])


def test_results_keep_the_order_of_the_draws_although_short_ones_end_first(engine, tasks, config):
    draws = draw_samples(tasks[::-1], 2, (0, "order"), Counter())
    sampler = Sampler(engine, ScriptedVerifier(by_text), decode=str)
    verified = sampler.sample_and_verify(draws, Conditions(CONTEXT, 1.0, 1.0, infrastructure_retries=0))
    assert [each.problem.id for each in verified] == [problem.id for problem, _ in tasks[::-1]]
    assert [completion.seed for each in verified for completion in each.completions] == [
        seed for draw in draws for seed in draw.seeds
    ]


# --- how many are drawn ahead, and what ends first, changes nothing ---------------------------------------------------


def test_how_many_are_drawn_ahead_changes_nothing(collect):
    verifiers = [ScriptedVerifier(by_problem(p1="accepted")) for _ in range(3)]
    shares = (1.0, 0.6, 0.2)
    results = [collect(each, keeps=is_mixed, share_kept=share) for each, share in zip(verifiers, shares, strict=True)]
    assert results[0] == results[1] == results[2]
    assert len({len(each.asked) for each in verifiers}) == 3, "so many were drawn ahead"


class ShuffledEngine:
    """Ends requests in a random order; a response is a function of its seed."""

    def __init__(self, order: random.Random) -> None:
        self.order = order
        self.num_aborted = 0

    def sample(self, requests, on_finish, steer):
        waiting = {request.key: request for request in requests}
        while waiting:
            request = waiting.pop(self.order.choice(list(waiting)))
            on_finish(request.key, Sampled((3 + request.seed % 90, 2), (-0.5, -0.5), True))
            change = steer()
            for key in change.aborted:
                self.num_aborted += waiting.pop(key, None) is not None
            waiting |= {request.key: request for request in change.added}


class LateVerifier(ScriptedVerifier):
    """Answers out of order, some programs only when later ones are submitted; fails now and then."""

    def __init__(self, rule, order):
        super().__init__(rule)
        self.order, self.open, self.lock = order, [], threading.Lock()

    def submit_answer(self, problem, text):
        future = Future()
        with self.lock:
            self.open.append((future, verdict(self.rule(problem, text))))
            self.order.shuffle(self.open)
        threading.Timer(0.001, self.answer).start()
        while len(self.open) > 3:
            self.answer()
        return future

    def answer(self):
        with self.lock:
            future, answer = self.open.pop() if self.open else (None, None)
        if future is not None and future.set_running_or_notify_cancel():
            future.set_result(answer)


@pytest.mark.parametrize("seed", range(12))
def test_what_is_accepted_and_counted_does_not_depend_on_what_ends_first(seed, collect, tasks):
    order, broken = random.Random(seed), {"p5"} if seed % 2 else set()
    changes = {"keeps": is_mixed, "max_draws": 6 + seed, "share_kept": order.uniform(0.1, 1.0)}
    engine = ShuffledEngine(order)
    groups, stats = collect(LateVerifier(failing(100, broken), order), engine=engine, **changes)
    expected_groups, expected = collect(
        ScriptedVerifier(failing(100, broken)), engine=ShuffledEngine(random.Random(0)), **changes | {"share_kept": 1.0}
    )
    assert groups == expected_groups
    assert stats == expected


@given(is_kept=st.lists(st.booleans(), min_size=1, max_size=40), wanted=st.integers(1, 12), data=st.data())
def test_the_batch_is_the_first_kept_draws_whatever_ends_first_and_however_many_are_drawn_ahead(is_kept, wanted, data):
    order = random.Random(data.draw(st.integers(0, 2**32)))
    batch = GroupsInOrder(wanted, len(is_kept), keeps=lambda rewards: rewards[0] > 0)
    share_kept, is_open = data.draw(st.floats(0.05, 1.0)), []
    while not batch.is_decided:
        number = batch.num_to_begin(share_kept)
        is_open += range(batch.num_begun, batch.num_begun + number)
        batch.num_begun += number
        is_open = [number for number in is_open if number not in batch.not_needed()]
        ended = is_open.pop(order.randrange(len(is_open)))
        kind = VerdictKind.accepted if is_kept[ended] else VerdictKind.wrong_answer
        batch.note({ended: RolloutGroup(Problem(str(ended), "", (), ""), (), (verdict(kind),))})
    kept = [number for number, kept in enumerate(is_kept) if kept][:wanted]
    num_drawn = kept[-1] + 1 if len(kept) == wanted else len(is_kept)
    assert [int(group.problem.id) for group in batch.groups()] == kept
    assert len(batch.counted()) == num_counted(is_kept, wanted) == num_drawn
