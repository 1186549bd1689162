"""Which bound on the error of a printed number a statement names."""

import pytest

from ablate.sources.base import RawRow, make_row
from ablate.sources.tolerance import stated_tolerance
from ablate.types import TestCase


@pytest.mark.parametrize(
    ("sentence", "bound"),
    [
        ("Your answer is correct if its absolute or relative error does not exceed $10^{-6}$.", 1e-6),
        ("Output is judged as correct if the absolute or relative error is at most 10^{-9}.", 1e-9),
        ("Answers within 10<sup>-5</sup> of the actual answer will be accepted.", 1e-5),
        ("Answers within 10-5 of the actual answer will be accepted.", 1e-5),  # the superscript is lost
        ("It should differ from the jury's answer by no more than 1e-4.", 1e-4),
        ("Print it with precision of at least 10⁻³.", 1e-3),
        ("A 0.01 absolute error is allowed.", 0.01),
        ("Your answer is accepted if and only if the error, |a - b| / max(1, |b|), is at most 10^{ - 4}.", 1e-4),
        ("Print the answer rounded to 2 digits after the decimal point.", None),
        ("The error rate is 0.5. Then 10^-6 of the cells die.", None),
        ("Numbers differ by at most 10.", None),
    ],
)
def test_a_bound_is_what_the_statement_says_of_the_error(sentence, bound):
    assert stated_tolerance(f"Read n < 10^5. {sentence} Good luck!") == pytest.approx(bound)


def tolerance(statement: str, outputs: list[str], of_source: float | None = None) -> float | None:
    raw = RawRow("s", "c", 0, None, {}, of_source)
    tests = tuple(TestCase("1\n", output) for output in outputs)
    return make_row(raw, statement=statement, kind="stdin", tests=tests).problem().float_tolerance


def test_a_source_bounds_the_absolute_error_and_outputs_without_a_fraction_are_exact():
    stated = "The relative error must be at most 10^-6."
    assert tolerance(stated, ["0.75", "3"], 1e-4) == 1e-6
    assert tolerance("Print the mean.", ["0.75", "3"], 1e-4) == 1e-4
    assert tolerance("Print the mean.", ["2000.5"], 1e-4) == pytest.approx(1e-4 / 2000.5)
    assert tolerance("Print the mean.", ["0.75"]) is None
    assert tolerance(stated, ["1000000"], 1e-4) is None
    assert tolerance("Return the mean.", ["[0.5, 1]"], 1e-4) == 1e-4
