"""Which rows are compared, and which rows of a cluster stay with whose references."""

from __future__ import annotations

import json
import random

import pytest
from datasketch import MinHash, MinHashLSH

from ablate.curate.candidate import Candidate, Details, Line, Place, Reference
from ablate.curate.duplicates import drop_near, keep_one_each, similar_pairs
from ablate.curate.tests import keys_of_all, probes_of, sketch_of
from ablate.curate.text import NUM_BANDS, NUM_PERMUTATIONS, digest_of, marks_of, signature_of, words_of
from ablate.types import TestCase

VOCABULARY = [f"word{number}" for number in range(500)]


def statements(count: int) -> list[list[str]]:
    """Random texts; every third is another text with a few words changed, or the same text."""
    rng, made = random.Random(0), []
    for number in range(count):
        words = rng.choices(VOCABULARY, k=80)
        if number % 3 == 2:
            words = [*rng.choice(made)]
            for place in rng.sample(range(80), number % 5):
                words[place] = "changed"
        made.append(words)
    return made


@pytest.fixture
def make_candidate(tmp_path):
    def make(
        name: str,
        num_tests: int = 5,
        signature: bytes = b"",
        references: tuple[str, ...] = (),
        has_checker: bool = False,
    ) -> Candidate:
        path = tmp_path / f"{name}.jsonl"
        details = Details({"statement": name}, None, references, (), (), {})
        path.write_text(json.dumps({"details": vars(details)}))
        line = Line(str(path), 0, path.stat().st_size)
        place, places = Place(0, 0, num_tests, 0, ""), tuple(Reference(line, each) for each in range(len(references)))
        names = ("s", "c", 0, "train", "stdin", None, False, (), "block", place, None)
        facts = (*names, "", "", "", signature, (), 0, has_checker, None)
        return Candidate(name, *facts, places, line)

    return make


def test_the_pairs_are_those_of_datasketchs_index(make_candidate):
    signatures = [signature_of(words) for words in statements(90)]
    index, expected = MinHashLSH(num_perm=NUM_PERMUTATIONS, params=(NUM_BANDS, NUM_PERMUTATIONS // NUM_BANDS)), set()
    for number, values in enumerate(signatures):
        sketch = MinHash(num_perm=NUM_PERMUTATIONS, hashvalues=values, seed=1, scheme="affine32")
        expected |= {(other, number) for other in index.query(sketch)}
        index.insert(number, sketch)
    candidates = [make_candidate(str(number), signature=each.tobytes()) for number, each in enumerate(signatures)]
    assert len(expected) >= 30
    assert similar_pairs(candidates) == expected
    assert similar_pairs(candidates[:1]) == similar_pairs([]) == set()


def test_the_row_with_the_most_tests_stays_with_the_different_references_of_all(make_candidate):
    rows = [
        make_candidate("few", 5, references=("a", "b")),
        make_candidate("most", 9, references=("c", "a")),
        make_candidate("late", 9, references=("d",)),
        make_candidate("alone", 5, references=("e",)),
    ]
    kept, rejected = keep_one_each(rows, [(0, 1), (1, 2)], "near_duplicate", max_references=3)
    assert [(each.id, each.reference_texts()) for each in kept] == [("most", ["c", "a", "b"]), ("alone", ["e"])]
    assert [each.detail for each in rejected] == ["of most", "of most"]


def test_a_row_with_a_checker_stays_with_the_references_of_rows_that_have_more_tests(make_candidate):
    rows = [
        make_candidate("taco", 60, references=("a", "b")),
        make_candidate("codeforces", 8, has_checker=True),
        make_candidate("synthetic", 90, references=("c",)),
    ]
    kept, rejected = keep_one_each(rows, [(0, 1), (1, 2)], "near_duplicate", max_references=4)
    assert [(each.id, each.reference_texts()) for each in kept] == [("codeforces", ["a", "b", "c"])]
    assert {each.detail for each in rejected} == {"of codeforces"}


TEXT = (
    "A gardener has n beds in a row, each with some number of tulips, and on every day of the week she may water one "
    "bed, after which its tulips double. Read the numbers on one line, each at most {bound}, and print the largest "
    "total of tulips that she can have after {days} days. The beds are numbered from left to right.{more}"
)
TESTS = [TestCase(f"{n} {n + 1} {n + 2}\n", f"{7 * n}\n") for n in range(6)]
OTHER_OUTPUTS = [TestCase(test.input, f"{test.output.strip()}1\n") for test in TESTS]
OTHER_INPUTS = [TestCase(f"{n} 9 9 9\n", f"{n}\n") for n in range(6)]
SHOWN = "\n\nExample\n\nInput\n{}\n\nOutput\n{}\n"


def text(bound: str = "100000", days: str = "five", more: str = "") -> str:
    return TEXT.format(bound=bound, days=days, more=more)


@pytest.mark.parametrize(
    ("first", "second", "are_one"),
    [
        ((text(), TESTS), (text(days="many"), TESTS[:5]), True),
        ((text(), TESTS), (text(days="many"), OTHER_OUTPUTS), False),
        ((text(), TESTS), (text(days="many"), [*OTHER_INPUTS, OTHER_OUTPUTS[0]]), False),
        ((text(), TESTS), (text(days="many"), OTHER_INPUTS), True),
        ((text(more=SHOWN.format("1 2", "9")), TESTS), (text(more=SHOWN.format("1 2", "8")), OTHER_INPUTS), False),
        ((text(more=SHOWN.format("1 2", "9")), TESTS), (text(more=SHOWN.format("5 2", "9")), OTHER_INPUTS), False),
        ((text(more=" It is the easy version."), TESTS), (text(more=" It is the hard version."), TESTS[:5]), False),
        ((text(), TESTS), (text(bound="300"), TESTS[:4]), False),
        ((text(), TESTS), (text(bound="300"), TESTS), True),
        ((text(), TESTS), (text(days="many", more=" Time Limit: 2000 ms Memory limit per test: 256 MB"), TESTS), True),
        *(
            ((text(), TESTS), (text(bound=bound, days="many"), TESTS[:4]), True)
            for bound in ("10^5", "10<sup>5</sup>", "10⁵", "$10^{5}$", "10**5", "1e5", "100,000", r"1 \cdot 10^5")
        ),
        *(((text(), TESTS), (text(bound=bound, days="many"), TESTS[:4]), False) for bound in ("2*10^5", "10^6")),
    ],
)
def test_tests_decide_before_words_whether_two_rows_are_one_problem(tmp_path, first, second, are_one):
    rows = []
    for number, (statement, tests) in enumerate((first, second)):
        path = tmp_path / f"{number}.jsonl"
        details = Details({"statement": statement}, None, (), (), (), sketch_of(tests))
        path.write_text(json.dumps({"details": vars(details)}))
        words = words_of(statement)
        place, line = Place(0, 0, len(tests), 0, ""), Line(str(path), 0, path.stat().st_size)
        keys = ("".join(words), digest_of(marks_of(statement)), keys_of_all(tests), signature_of(words).tobytes())
        facts = ("s", "c", number, "train", "stdin", None, False, (), "block", place, None)
        rows.append(Candidate(str(number), *facts, *keys, probes_of(tests), 0, False, None, (), line))
    kept, _ = drop_near(rows, threshold=0.8, max_references=1)
    assert (len(kept) == 1) == are_one
