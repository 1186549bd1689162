import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablate.data.order import ProblemOrder
from ablate.errors import UserError

SIZES = st.integers(1, 20)
SEEDS = st.integers(0, 2**31 - 1)


@given(SIZES, SEEDS, st.booleans(), st.lists(st.integers(0, 30), max_size=6))
def test_the_order_does_not_depend_on_how_many_are_taken_at_once(num_problems, seed, shuffle, counts):
    piecewise = ProblemOrder(num_problems, seed, shuffle)
    at_once = ProblemOrder(num_problems, seed, shuffle)
    assert [index for count in counts for index in piecewise.take(count)] == at_once.take(sum(counts))


@given(SIZES, SEEDS, st.integers(1, 3))
def test_every_pass_holds_every_problem_once(num_problems, seed, num_passes):
    sampler = ProblemOrder(num_problems, seed, shuffle=True)
    for _ in range(num_passes):
        assert sorted(sampler.take(num_problems)) == list(range(num_problems))


@given(SIZES, SEEDS, st.integers(0, 50), st.integers(0, 50))
def test_a_restored_sampler_continues_as_if_never_stopped(num_problems, seed, before, after):
    unbroken = ProblemOrder(num_problems, seed, shuffle=True)
    unbroken.take(before)
    state = json.loads(json.dumps(unbroken.state()))
    resumed = ProblemOrder(num_problems, seed, shuffle=True)
    resumed.restore(state)
    assert resumed.take(after) == unbroken.take(after)


def test_passes_and_seeds_have_orders_of_their_own():
    sampler = ProblemOrder(50, seed=0, shuffle=True)
    first, second = sampler.take(50), sampler.take(50)
    assert first != second
    assert first != ProblemOrder(50, seed=1, shuffle=True).take(50)


def test_without_shuffling_the_file_order_is_kept():
    assert ProblemOrder(3, seed=7, shuffle=False).take(7) == [0, 1, 2, 0, 1, 2, 0]


@pytest.mark.parametrize("other", [(4, 0, True), (3, 1, True), (3, 0, False)])
def test_a_state_of_another_run_is_refused(other):
    with pytest.raises(UserError, match="checkpoint"):
        ProblemOrder(3, 0, True).restore(ProblemOrder(*other).state())


def test_no_problems_is_the_users_error():
    with pytest.raises(UserError, match=r"data\.train"):
        ProblemOrder(0, 0, True)
