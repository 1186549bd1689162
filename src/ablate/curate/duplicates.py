"""Duplicates: rows with the same statement or the same tests, and rows with nearly the same statement.

Public sets hold most problems twice. Where tests do not decide, two rows whose numbers or operators differ are no
duplicates, because the easy and the hard version of a problem differ in little else.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import combinations

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ablate.curate.candidate import Candidate, Details, Reference, Rejection, rejection
from ablate.curate.examples import examples_of
from ablate.curate.text import NUM_BANDS, NUM_PERMUTATIONS, SHINGLE_WORDS, VERSION_WORDS, jaccard, ngrams, words_of

MIN_SHINGLES = 20  # in a shorter statement one word can be the whole difference
KEPT_SHINGLES = 256  # statements; pairs are compared in the order of their first rows
MIN_SHARED_TESTS = 5
SHARED_TESTS = 0.9  # of the tests of one row that are tests of the other: what two data sets took from one contest
MAX_ROWS_OF_A_TEST = 16
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
    """Keep one row of all that are nearly the same; reason ``near_duplicate``. ``are_the_same`` has the rules."""

    @lru_cache(KEPT_SHINGLES)
    def known(index: int) -> Known:
        return known_of(candidates[index].details())

    def same(left: int, right: int) -> bool:
        return are_the_same(candidates[left], candidates[right], known(left), known(right), threshold)

    suspects = (
        similar_pairs(candidates) | pairs_with_the_same_tests(candidates) | pairs_that_share_most_tests(candidates)
    )
    return keep_one_each(candidates, [p for p in sorted(suspects) if same(*p)], "near_duplicate", max_references)


@dataclass(frozen=True)
class Known:
    """What two rows are compared by, read from their blocks."""

    shingles: set[str]
    versions: frozenset[str]  # words such as "easy" and "version"
    sketch: dict[str, str]
    examples: dict[str, list[str]]  # words of the outputs that a statement shows, by its inputs


def known_of(details: Details) -> Known:
    words = words_of(details.statement)
    shown = {" ".join(given.split()): output.lower().split() for given, output in examples_of(details.statement)}
    return Known(ngrams(words, SHINGLE_WORDS), VERSION_WORDS & set(words), details.sketch, shown)


def are_the_same(first: Candidate, second: Candidate, one: Known, other: Known, threshold: float) -> bool:
    """Whether two rows are one problem. Tests decide before words do.

    The same tests and similar words make one problem, whatever the numbers in the statements say. A shared input with
    different outputs makes two. So do different numbers, operators or versions, unless nearly all tests are shared;
    and examples and tests without any in common. Then a Jaccard similarity of ``threshold`` makes one problem.
    """
    if first.kind != second.kind:
        return False
    similarity = jaccard(one.shingles, other.shingles)
    similar = similarity >= min(threshold, SAME_TESTS_SIMILARITY)
    if first.tests_key == second.tests_key:
        return similar
    shared = one.sketch.keys() & other.sketch.keys()
    if any(one.sketch[key] != other.sketch[key] for key in shared) or shows_other_outputs(one, other):
        return False
    if one.versions != other.versions:
        return False
    num_tests = min(len(one.sketch), len(other.sketch))
    if not one.versions and len(shared) >= max(MIN_SHARED_TESTS, SHARED_TESTS * num_tests):
        return similar
    if first.marks_key != second.marks_key or min(len(one.shingles), len(other.shingles)) < MIN_SHINGLES:
        return False
    is_apart = one.examples and other.examples and not shared and not one.examples.keys() & other.examples.keys()
    return similarity >= threshold and not is_apart


def shows_other_outputs(one: Known, other: Known) -> bool:
    """Whether both statements show an example with the same input, and different outputs.

    Text may follow an output, so only the words that both have are compared.
    """
    both = [(one.examples[given], other.examples[given]) for given in one.examples.keys() & other.examples.keys()]
    return any(left != right for pair in both for left, right in zip(*pair, strict=False))


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


def pairs_that_share_most_tests(candidates: Sequence[Candidate]) -> set[tuple[int, int]]:
    """Pairs that share at least half of their probes, where these are not in too many rows to tell anything."""
    rows_of: dict[str, list[int]] = defaultdict(list)
    for number, each in enumerate(candidates):
        for probe in each.probes:
            rows_of[probe].append(number)
    counts = Counter(
        pair for rows in rows_of.values() if len(rows) <= MAX_ROWS_OF_A_TEST for pair in combinations(rows, 2)
    )
    return {pair for pair, count in counts.items() if 2 * count >= min(len(candidates[each].probes) for each in pair)}


def keep_one_each(
    candidates: Sequence[Candidate], pairs: Iterable[tuple[int, int]], reason: str, max_references: int
) -> tuple[list[Candidate], list[Rejection]]:
    """Keep the best row of every cluster, with the references of all, and reject the others.

    A row with a checker is better than one without, and then one with more tests. Ties go to the earlier row:
    candidates stand in the order of their sources.
    """
    joined = np.array([*pairs], dtype=int).reshape(-1, 2).T
    graph = coo_array((np.ones(joined.shape[1]), joined), shape=(len(candidates), len(candidates)))
    cluster_of = connected_components(graph, directed=False)[1]
    clusters: dict[int, list[int]] = defaultdict(list)
    for number, cluster in enumerate(cluster_of):
        clusters[cluster].append(number)
    kept: list[Candidate] = []
    rejected: list[Rejection] = []
    for number, each in enumerate(candidates):
        members = clusters[cluster_of[number]]
        best = min(members, key=lambda member: rank_of(candidates[member], member))
        if number != best:
            rejected.append(rejection(each, reason, f"of {candidates[best].id}"))
            continue
        kept.append(
            each if len(members) == 1 else with_references_of(each, [candidates[m] for m in members], max_references)
        )
    return kept, rejected


def rank_of(candidate: Candidate, number: int) -> tuple[bool, int, int]:
    return not candidate.has_checker, -candidate.tests.num_tests, number


def with_references_of(best: Candidate, members: Sequence[Candidate], max_references: int) -> Candidate:
    """The best row of a cluster with the different references of all its rows, its own first."""
    different: dict[str, Reference] = {}
    for member in (best, *members):
        for each in member.references:
            different.setdefault(each.text(), each)
    return replace(best, references=tuple(different.values())[:max_references])
