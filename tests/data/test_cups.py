import random
from collections import Counter
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablate.cli import compose
from ablate.data import cups
from ablate.data.problems import SHIPPED_DIR, load_problems
from ablate.data.tokenizer import EOS, USER, character_tokenizer
from ablate.verify.extract import extract_last_block

TRAIN, EVAL, REST = cups.split()
EVERY = cups.all_cups()
PLAN, NO_PLAN = cups.CupsNoise(plan=1.0), cups.CupsNoise(plan=0.0)


def num_tokens(tokenizer, each: cups.Cups, noise: cups.CupsNoise) -> int:
    """Tokens of prompt and response."""
    text = f"{USER}{each.statement}\n{cups.demonstrate(each, noise, random.Random(0)).response}"
    return len(tokenizer(text, add_special_tokens=False)["input_ids"])


@pytest.mark.parametrize("name", ["cups_train.jsonl", "cups_eval.jsonl"])
def test_the_shipped_files_are_what_the_generator_writes(name):
    assert (SHIPPED_DIR / name).read_text(encoding="utf-8") == cups.problem_files()[name]


@pytest.mark.parametrize(("name", "first"), [("cups_select.jsonl", 0), ("cups_compare.jsonl", 1)])
def test_the_halves_of_the_evaluation_problems_are_every_second_one_and_equal_mixtures(name, first):
    lines = cups.problem_files()["cups_eval.jsonl"].splitlines(keepends=True)[first::2]
    assert (SHIPPED_DIR / name).read_text(encoding="utf-8") == "".join(lines)
    problems = load_problems(f"shipped:{name}")
    assert [sum(each.difficulty == f"{moves} moves" for each in problems) for moves in range(2, 7)] == [18, 9, 9, 9, 9]


@given(st.sampled_from(EVERY))
def test_the_answer_is_where_a_ball_ends_that_really_moves(each):
    """``trace`` follows the ball; here the cups are moved, and the ball stays in its cup."""
    table = [cup == each.start for cup in cups.CUPS]
    for pair in each.swaps:
        first, second = map(int, pair)
        table[first], table[second] = table[second], table[first]
    assert each.answer == str(table.index(True))


def test_the_tests_of_a_problem_tell_its_answer_from_the_other_two():
    for problem in load_problems("shipped:cups_eval.jsonl"):
        outputs = [[test.input.split()[place] + "\n" for test in problem.tests] for place in range(3)]
        expected = [test.output for test in problem.tests]
        assert outputs.count(expected) == 1
        assert problem.reference == cups.program(str(outputs.index(expected)))


def test_train_evaluation_and_rest_are_disjoint_and_everything():
    parts = [set(TRAIN), set(EVAL), set(REST)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == len(EVERY)
    assert len(EVAL) >= 108


@pytest.mark.parametrize("problems", [TRAIN, EVAL], ids=["train", "evaluation"])
def test_a_guess_from_the_first_cup_or_of_one_cup_is_right_one_time_in_three(problems):
    steps = Counter((int(each.answer) - int(each.start)) % 3 for each in problems)
    assert set(steps.values()) == set(Counter(each.answer for each in problems).values()) == {len(problems) // 3}
    for group in cups.GROUPS:
        assert sum(each.num_moves in group for each in problems) == len(problems) // 3


def test_all_statements_are_equally_long_and_a_third_of_the_plans_fits_each_context():
    tokenizer = character_tokenizer()
    contexts = [context.length for context in compose(["setting=cups"]).eval.contexts]
    fits = []
    for each in EVAL:
        assert len(each.statement) == len(EVAL[0].statement)
        assert num_tokens(tokenizer, each, NO_PLAN) <= contexts[0]
        fits.append([num_tokens(tokenizer, each, PLAN) <= context for context in contexts])
    assert [sum(column) for column in zip(*fits, strict=True)] == [len(EVAL) // 3, 2 * len(EVAL) // 3, len(EVAL)]


@given(st.sampled_from(EVERY), st.sampled_from([PLAN, NO_PLAN]))
def test_a_demonstration_is_right(each, noise):
    response = cups.demonstrate(each, noise, random.Random(0)).response
    assert extract_last_block(response.removesuffix(EOS)) == f"{cups.program(each.answer)}\n"
    assert response.startswith(each.plan) == (noise is PLAN)


def test_a_plan_says_after_every_swap_where_the_ball_is():
    each = cups.Cups("1", ("12", "20", "12", "12", "12", "01"))
    assert each.statement == "Ball under 1: a12 b20 c12 d12 e12 f01"
    assert each.plan == ("a12 moves it to 2 b20 moves it to 0 c12 0 d12 0 e12 0 f01 moves it to 1 ")


def test_demonstrations_are_of_every_group_alike_and_of_no_evaluation_problem():
    noise = cups.CupsNoise(plan=0.5)
    (batch,) = cups.demonstration_batches(noise, 6000, num_batches=1, seed=0)
    moves = {each.id: each.num_moves for each in (*TRAIN, *REST)}
    shown = Counter(moves[each.problem_id] for each in batch)  # a KeyError for an evaluation problem
    for group in cups.GROUPS:
        assert sum(shown[number] for number in group) / 6000 == pytest.approx(1 / 3, abs=0.03)
    assert sum(each.response.startswith("a") for each in batch) / 6000 == pytest.approx(0.5, abs=0.03)


def test_a_batch_depends_on_the_seed_and_its_place_only():
    some, more = (list(cups.demonstration_batches(PLAN, 4, number, seed=3)) for number in (2, 5))
    assert more[:2] == some
    assert next(cups.demonstration_batches(PLAN, 4, 1, seed=4)) != some[0]


def test_a_swap_undone_is_no_swap():
    for cup, pair in product(cups.CUPS, cups.PAIRS):
        assert cups.after(cups.after(cup, pair), pair) == cup
