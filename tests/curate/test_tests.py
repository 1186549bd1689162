"""What cleaning does to tests, and what it leaves alone."""

from ablate.curate.tests import Caps, clean_tests
from ablate.types import TestCase


def test_blank_lines_at_the_end_of_an_input_stay_because_a_program_may_read_them():
    tests = (TestCase("1\r\n\r\n", "1\n\n"), TestCase("2\n3", "2"))
    cleaned, num_large = clean_tests(tests, True, Caps(100, None, 1))
    assert cleaned == (TestCase("1\n\n", "1\n"), TestCase("2\n3\n", "2\n"))
    assert num_large == 0
