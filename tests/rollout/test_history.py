"""data.history: which problems rest is a function of the groups before, the same after a kill, at every lag."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ablate.cli import compose
from ablate.config import HistoryConfig, parse
from ablate.data.history import noted, resting
from ablate.data.tokenizer import load_tokenizer
from ablate.errors import UserError
from ablate.sampling import Sampling
from ablate.session.state import RunState
from ablate.types import Problem, Prompt, TestCase

from .scripted_verifier import ScriptedVerifier, by_problem

LAST_STEP = 6
NUM_PROBLEMS = 30
RULE = by_problem(**{f"p{number}": "accepted" for number in range(0, NUM_PROBLEMS, 3)})  # every third is always solved
OUTCOME = st.tuples(st.integers(0, 5), st.sampled_from([True, False, None]))
OUTCOMES = st.lists(st.lists(OUTCOME, max_size=8), max_size=8)


def test_a_problem_rests_after_groups_of_one_outcome_in_a_row_and_wakes_again():
    config = HistoryConfig(groups=2, rest_steps=3)
    once = noted({}, 9, [(7, True), (3, True)])
    assert resting(once, config, 10, 20, 4) == set()
    twice = noted(once, 10, [(7, True), (3, None)])  # what failed says nothing
    assert [step for step in range(9, 16) if resting(twice, config, step, 20, 4)] == [9, 10, 11, 12, 13]
    assert resting(twice, config, 11, 20, 4) == {7}
    again = noted(twice, 14, [(7, True)])
    assert resting(again, config, 15, 20, 4) == {7}, "one more such group after its rest, and it rests again"
    assert resting(noted(twice, 14, [(7, False)]), config, 15, 20, 4) == set()


def test_enough_problems_stay_awake_and_the_longest_rest_ends_first():
    streaks = noted(noted({}, 1, [(0, True), (1, True)]), 2, [(2, True), (3, True)])
    config = HistoryConfig(groups=1, rest_steps=9)
    assert resting(streaks, config, 3, num_problems=6, num_awake=3) == {1, 2, 3}
    assert resting(streaks, config, 3, num_problems=6, num_awake=9) == set()


@given(OUTCOMES, st.integers(1, 3), st.integers(1, 4))
def test_the_streaks_are_what_the_outcomes_say(steps, groups, rest_steps):
    """Against the definition, read from all outcomes at once."""
    streaks, whole = {}, []
    for step, outcomes in enumerate(steps, start=1):
        streaks = noted(streaks, step, outcomes)
        whole += [(step, number, outcome) for number, outcome in outcomes if outcome is not None]
    expected = set()
    for number in range(6):
        own = [(step, outcome) for step, each, outcome in whole if each == number]
        if len(own) >= groups and all(outcome for _, outcome in own[-groups:]):
            expected |= {number} if len(steps) + 1 <= own[-1][0] + rest_steps else set()
    assert resting(streaks, HistoryConfig(groups, rest_steps), len(steps) + 1, 6, 0) == expected


@pytest.fixture
def sampling_with(engine, tiny_checkpoint):
    """``sampling_with(history)``: thirty problems, of which ten are always solved, on the real engine."""
    tokenizer = load_tokenizer(tiny_checkpoint)

    def sampling(history):
        words = ["objective=dapo", "rollout.prompts_per_step=3", "rollout.samples_per_prompt=4", "rollout.max_draws=12"]
        config = parse(compose([*words, "rollout.on_short_batch=train", "context.length=40"]))
        config = replace(config, data=replace(config.data, history=history))
        tasks = []
        for number in range(NUM_PROBLEMS):
            problem = Problem(f"p{number}", statement="x", tests=(TestCase("1\n", "1\n"),), difficulty="easy")
            tasks.append((problem, Prompt(problem.id, "add ", tuple(tokenizer("add ")["input_ids"]))))
        made = Sampling(
            config,
            tiny_checkpoint,
            lambda ids: tokenizer.decode(list(ids), skip_special_tokens=True),
            tasks,
            [],
            [],
            ScriptedVerifier(RULE),
        )
        made.engine = lambda context_length: engine
        return made

    return sampling


def continued(sampling: Sampling, state: RunState) -> list:
    """The batches of the steps after ``state.step``: first those that it holds, then new ones, one after the other."""
    while state.next_batch_step <= LAST_STEP:
        batch = sampling.collect(state.next_problem_order, state.next_batch_step, 40)
        state.ahead = (*state.ahead, batch)
    return [([group.problem.id for group in batch.groups], batch.metrics) for batch in state.ahead]


def test_the_order_after_a_kill_is_that_of_the_unbroken_run_at_every_lag(sampling_with, tmp_path):
    """``session.batches`` begins a batch when the one before it has its verdicts, at every lag."""
    sampling, state = sampling_with(HistoryConfig(groups=1, rest_steps=3)), RunState()
    unbroken, batches = continued(sampling, state), state.ahead
    rest = [metrics["rollout/num_problems_resting"] for _, metrics in unbroken]
    assert rest[0] == 0
    assert max(rest) > 3, "or the test tests nothing"
    for lag in (0, 1, 2):
        state = RunState(step=3, problem_order=batches[2].problem_order, ahead=batches[3 : 3 + lag])
        torch.save(state.as_plain(), tmp_path / "extra.pt")
        resumed = RunState.of_plain(torch.load(tmp_path / "extra.pt", weights_only=True))
        assert continued(sampling, resumed) == unbroken[3:]


def test_without_a_history_nothing_of_a_batch_changes(sampling_with):
    batch = sampling_with(None).collect(None, 1, 40)
    assert set(batch.problem_order) == {"num_problems", "seed", "shuffle", "position"}
    assert "rollout/num_problems_resting" not in batch.metrics
    first = sampling_with(HistoryConfig(1, 3)).collect(None, 1, 40)
    assert [group.completions for group in first.groups] == [group.completions for group in batch.groups]


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("data.history={groups:0,rest_steps:2}", r"data\.history\.groups must be 1 or more, not 0: null turns it off"),
        ("data.history={groups:1,rest_steps:0}", r"data\.history\.rest_steps must be 1 or more"),
        ("data.history={groups:1}", r"data\.history\.rest_steps"),
    ],
)
def test_a_history_that_means_nothing_is_refused(word, sentence):
    with pytest.raises(UserError, match=sentence):
        parse(compose([word]))


def test_groups_of_others_have_no_history():
    words = ["rollout.groups_from=atropos", "objective.overlong=zero_advantage", "data.history={groups:1,rest_steps:2}"]
    with pytest.raises(UserError, match=r"others draw the problems, and none rests: set data\.history=null"):
        parse(compose(words))
