"""Duplicates: rows with the same statement or the same tests, and rows with nearly the same statement.

Public sets hold most problems twice. Two rows whose numbers or operators differ are no duplicates, because the easy and
the hard version of a problem differ in little else.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import combinations

import numpy as np

from ablate.curate.candidate import Candidate, Reference, Rejection, rejection
from ablate.curate.text import NUM_BANDS, NUM_PERMUTATIONS, SHINGLE_WORDS, jaccard, ngrams, words_of

MIN_SHINGLES = 20  # in a shorter statement one word can be the whole difference
KEPT_SHINGLES = 256  # statements; pairs are compared in the order of their first rows
SAME_TESTS_SIMILARITY = 0.3  # another wording of a problem; unrelated problems can share trivial tests


def drop_exact(candidates: Sequence[Candidate], max_references: int) -> tuple[list[Candidate], list[Rejection]]:
    """Keep one row of all that have the same words and marks; reason ``duplicate``."""
    groups: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for index, each in enumerate(candidates):
        groups[each.text_key, each.kind, each.marks_key].append(index)
    pairs = [(members[0], other) for members in groups.values() for other in members[1:]]
    return keep_one_each(candidates, pairs, "duplicate", max_references)


def drop_near(
    candidates: Sequence[Candidate], threshold: float, max_references: int
) -> tuple[list[Candidate], list[Rejection]]:
    """Keep one row of all that are nearly the same; reason ``near_duplicate``.

    Two rows are nearly the same when the Jaccard similarity of their 5-word shingles is at least ``threshold``, or
    when they have the same tests and similar words. Their numbers and operators must be equal.
    """

    @lru_cache(KEPT_SHINGLES)
    def shingles(index: int) -> set[str]:
        return ngrams(words_of(candidates[index].details().statement), SHINGLE_WORDS)

    def same(left: int, right: int) -> bool:
        first, second = candidates[left], candidates[right]
        if (first.kind, first.marks_key) != (second.kind, second.marks_key):
            return False
        if first.tests_key == second.tests_key:
            return jaccard(shingles(left), shingles(right)) >= min(threshold, SAME_TESTS_SIMILARITY)
        if min(len(shingles(left)), len(shingles(right))) < MIN_SHINGLES:
            return False
        return jaccard(shingles(left), shingles(right)) >= threshold

    suspects = sorted(similar_pairs(candidates) | pairs_with_the_same_tests(candidates))
    return keep_one_each(candidates, [pair for pair in suspects if same(*pair)], "near_duplicate", max_references)


def similar_pairs(candidates: Sequence[Candidate]) -> set[tuple[int, int]]:
    """Pairs that share a band of their MinHash: found almost surely from a similarity of 0.8.

    Rows that are equal in a band stand next to each other once the band is sorted. An index of dictionaries, such as
    datasketch's MinHashLSH, finds the same pairs and takes 12 kB a row.
    """
    if len(candidates) < 2:
        return set()
    signatures = b"".join(each.signature for each in candidates)
    values = np.frombuffer(signatures, dtype=np.uint32).reshape(-1, NUM_PERMUTATIONS)
    pairs: set[tuple[int, int]] = set()
    for band in np.split(values, NUM_BANDS, axis=1):
        order = np.lexsort(band.T)
        changes = np.flatnonzero((band[order[1:]] != band[order[:-1]]).any(axis=1)) + 1
        bounds = np.concatenate([[0], changes, [len(order)]])
        for start in np.flatnonzero(np.diff(bounds) > 1):
            pairs.update(combinations(sorted(order[bounds[start] : bounds[start + 1]].tolist()), 2))
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
        kept.append(
            each if len(members) == 1 else with_references_of(each, [candidates[m] for m in members], max_references)
        )
    return kept, rejected


def with_references_of(best: Candidate, members: Sequence[Candidate], max_references: int) -> Candidate:
    """The best row of a cluster with the different references of all its rows, its own first."""
    different: dict[str, Reference] = {}
    for member in (best, *members):
        for each in member.references:
            different.setdefault(each.text(), each)
    return replace(best, references=tuple(different.values())[:max_references])


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
