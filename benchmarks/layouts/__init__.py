"""The trainer under every kind of layout, compared with one process."""

import sys
from pathlib import Path

TESTS = Path(__file__).parents[2] / "tests"
sys.path += [str(TESTS), str(TESTS / "trainer")]  # the double of Transformer Engine, and what the tests compare
