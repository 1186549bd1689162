import contextlib
import io
import sys
from itertools import combinations

import pytest

from ablate.data import tiny
from ablate.data.problems import SHIPPED_DIR, load_problems

TRAIN = load_problems("shipped:tiny_train.jsonl")
EVAL = load_problems("shipped:tiny_eval.jsonl")


def run_here(program: str, stdin: str) -> str:
    """Run one of our own reference programs; what a model wrote goes to the sandbox only."""
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out):
        patch.setattr(sys, "stdin", io.StringIO(stdin))
        exec(program, {})
    return out.getvalue()


def passes(program: str, tests) -> bool:
    try:
        return all(run_here(program, test.input) == test.output for test in tests)
    except (ValueError, EOFError):
        return False


@pytest.mark.parametrize("name", ["tiny_train.jsonl", "tiny_eval.jsonl"])
def test_the_shipped_files_are_what_the_generator_writes(name):
    assert (SHIPPED_DIR / name).read_text(encoding="utf-8") == tiny.problem_files()[name]


def test_the_generator_writes_its_files(tmp_path, capsys):
    tiny.main(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(tiny.problem_files())
    assert "48 problems" in capsys.readouterr().out


@pytest.mark.parametrize("problem", TRAIN + EVAL, ids=lambda problem: problem.id)
def test_the_reference_gives_every_expected_output(problem):
    assert passes(problem.reference, problem.tests)


def test_no_two_problems_share_a_statement():
    assert len({problem.statement for problem in TRAIN + EVAL}) == len(TRAIN) + len(EVAL)


def test_no_program_solves_two_problems():
    solved = [
        (first.id, second.id)
        for first, second in combinations(TRAIN + EVAL, 2)
        if passes(first.reference, second.tests) or passes(second.reference, first.tests)
    ]
    assert solved == []


@pytest.mark.parametrize("problem", TRAIN + EVAL, ids=lambda problem: problem.id)
def test_the_tests_hold_the_edge_cases(problem):
    inputs = [test.input for test in problem.tests]
    pairs = [tuple(map(int, text.replace(",", " ").split())) for text in inputs]
    assert len(pairs) >= 10
    assert any(0 in pair for pair in pairs)
    assert any(min(pair) < 0 for pair in pairs)
    assert any(a == b for a, b in pairs)
    assert any(max(map(abs, pair)) >= 10**17 for pair in pairs)
    assert any(not text.endswith("\n") for text in inputs)
    assert any(text.startswith(" ") for text in inputs)
    assert len(set(inputs)) == len(inputs)


def test_statements_are_one_line():
    assert [problem.id for problem in TRAIN + EVAL if "\n" in problem.statement] == []


def test_evaluation_is_reachable_by_generalising():
    train, held_out, rest = (set(part) for part in tiny.split())
    assert train.isdisjoint(held_out)
    assert rest.isdisjoint(train | held_out)
    assert tiny.is_balanced(train)
    assert tiny.is_balanced(held_out)
    behaviours = {each.behaviour for each in held_out}
    assert behaviours.isdisjoint(each.behaviour for each in train | rest)


def test_mistakes_stay_within_the_grid():
    assert {part.mistaken_for for part in tiny.OPERATIONS} <= set(tiny.OPERATION)
    assert {part.mistaken_for for part in tiny.TRANSFORMATIONS} - {None} <= set(tiny.TRANSFORMATION)
    assert {part.mistaken_for for part in tiny.LAYOUTS} <= set(tiny.LAYOUT)
    assert all(part.mistaken_for != part.name for part in (*tiny.OPERATIONS, *tiny.TRANSFORMATIONS, *tiny.LAYOUTS))
