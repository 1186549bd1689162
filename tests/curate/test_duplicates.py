"""Which rows are compared, and which rows of a cluster stay with whose references."""

from __future__ import annotations

import json
import random

import pytest
from datasketch import MinHash, MinHashLSH

from ablate.curate.candidate import Candidate, Details, Line, Place, Reference
from ablate.curate.duplicates import keep_one_each, similar_pairs
from ablate.curate.text import NUM_BANDS, NUM_PERMUTATIONS, signature_of

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
    def make(name: str, num_tests: int = 5, signature: bytes = b"", references: tuple[str, ...] = ()) -> Candidate:
        path = tmp_path / f"{name}.jsonl"
        details = Details({"statement": name}, None, references, ())
        path.write_text(json.dumps({"details": vars(details)}))
        line = Line(str(path), 0, path.stat().st_size)
        place, places = Place(0, 0, num_tests, 0, ""), tuple(Reference(line, each) for each in range(len(references)))
        facts = ("s", "c", 0, "train", "stdin", None, False, (), "block", place, None, "", "", "", signature, None)
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
