"""Duplicates: rows with the same statement or the same tests, and rows with nearly the same statement.

Public sets hold most problems twice. Two rows whose numbers or operators differ are no duplicates, because the easy and
the hard version of a problem differ in little else.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np

from ablate.curate.candidate import Candidate, Rejection, rejection
from ablate.curate.text import (
    NUM_BANDS,
    NUM_PERMUTATIONS,
    ROWS_OF_A_BAND,
    SHINGLE_WORDS,
    jaccard,
    marks_of,
    ngrams,
    words_of,
)

MIN_SHINGLES = 20  # in a shorter statement one word can be the whole difference
SAME_TESTS_SIMILARITY = 0.3  # another wording of a problem; unrelated problems can share trivial tests


def drop_exact(candidates: Sequence[Candidate], max_references: int) -> tuple[list[Candidate], list[Rejection]]:
    """Keep one row of all that have the same words and marks; reason ``duplicate``."""
    groups: dict[tuple[object, ...], list[int]] = defaultdict(list)
    for index, each in enumerate(candidates):
        groups[each.text_key, each.problem["input_mode"], marks_of(each.statement)].append(index)
    pairs = [(members[0], other) for members in groups.values() for other in members[1:]]
    return keep_one_each(candidates, pairs, "duplicate", max_references)


def drop_near(
    candidates: Sequence[Candidate], threshold: float, max_references: int
) -> tuple[list[Candidate], list[Rejection]]:
    """Keep one row of all that are nearly the same; reason ``near_duplicate``.

    Two rows are nearly the same when the Jaccard similarity of their 5-word shingles is at least ``threshold``, or
    when they have the same tests and similar words. Their numbers and operators must be equal.
    """
    shingles_of: dict[int, set[str]] = {}

    def shingles(index: int) -> set[str]:
        if index not in shingles_of:
            shingles_of[index] = ngrams(words_of(candidates[index].statement), SHINGLE_WORDS)
        return shingles_of[index]

    def same(left: int, right: int) -> bool:
        first, second = candidates[left], candidates[right]
        if first.problem["input_mode"] != second.problem["input_mode"]:
            return False
        if marks_of(first.statement) != marks_of(second.statement):
            return False
        if first.tests_key == second.tests_key:
            return jaccard(shingles(left), shingles(right)) >= min(threshold, SAME_TESTS_SIMILARITY)
        if min(len(shingles(left)), len(shingles(right))) < MIN_SHINGLES:
            return False
        return jaccard(shingles(left), shingles(right)) >= threshold

    suspects = sorted(similar_pairs(candidates) | pairs_with_the_same_tests(candidates))
    return keep_one_each(candidates, [pair for pair in suspects if same(*pair)], "near_duplicate", max_references)


def similar_pairs(candidates: Sequence[Candidate]) -> set[tuple[int, int]]:
    """Pairs that share a band of their MinHash: found almost surely from a similarity of 0.8."""
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(num_perm=NUM_PERMUTATIONS, params=(NUM_BANDS, ROWS_OF_A_BAND))
    permutations = MinHash(num_perm=NUM_PERMUTATIONS, seed=1, scheme="affine32").permutations
    pairs: set[tuple[int, int]] = set()
    for number, each in enumerate(candidates):
        values = np.frombuffer(bytes.fromhex(each.signature), dtype=np.uint32)
        sketch = MinHash(hashvalues=values, permutations=permutations, seed=1, scheme="affine32")
        pairs |= {(other, number) for other in index.query(sketch)}
        index.insert(number, sketch)
    return pairs


def pairs_with_the_same_tests(candidates: Sequence[Candidate]) -> set[tuple[int, int]]:
    first_of: dict[str, int] = {}
    pairs = set()
    for number, each in enumerate(candidates):
        first = first_of.setdefault(each.tests_key, number)
        if first != number:
            pairs.add((first, number))
    return pairs


def keep_one_each(
    candidates: Sequence[Candidate], pairs: Iterable[tuple[int, int]], reason: str, max_references: int
) -> tuple[list[Candidate], list[Rejection]]:
    """Keep the best row of every cluster, with the references of all, and reject the others.

    The row with the most tests is the best. Ties go to the earlier row: candidates stand in the order of their sources.
    """
    find, join = union_find(len(candidates))
    for left, right in pairs:
        join(left, right)
    clusters: dict[int, list[int]] = defaultdict(list)
    for number in range(len(candidates)):
        clusters[find(number)].append(number)
    kept: list[Candidate] = []
    rejected: list[Rejection] = []
    for number, each in enumerate(candidates):
        members = clusters[find(number)]
        best = min(members, key=lambda member: (-candidates[member].tests.num_tests, member))
        if number != best:
            rejected.append(rejection(each, reason, f"of {candidates[best].id}"))
            continue
        texts = dict.fromkeys(text for member in (best, *members) for text in candidates[member].references)
        kept.append(replace(each, references=tuple(texts)[:max_references]))
    return kept, rejected


def union_find(size: int) -> tuple[Callable[[int], int], Callable[[int, int], None]]:
    """Functions that find the cluster of a number and join two clusters."""
    parent = list(range(size))

    def find(number: int) -> int:
        while parent[number] != number:
            parent[number] = parent[parent[number]]
            number = parent[number]
        return number

    def join(left: int, right: int) -> None:
        left, right = find(left), find(right)
        parent[max(left, right)] = min(left, right)

    return find, join
