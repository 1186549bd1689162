"""The samples of one model in arrays: S training runs x P problems, with counts of samples in each."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from ablate.errors import UserError
from ablate_analysis.results.samples import Results, Sample

ENOUGH_TO_BE_THE_SAME = 20  # problems on which two files must agree everywhere before they look like copies


@dataclass(frozen=True)
class Arm:
    """One model: what was read, and its counts.

    ``score_SP`` sums the scores of the samples that have a verdict; where every score is 0 or 1 it counts those that
    passed. ``finished_SP`` and ``passed_finished_SP`` count finished samples; None where the files do not say.
    """

    name: str
    format: str
    files: tuple[str, ...]
    runs: tuple[str, ...]
    problems: tuple[str, ...]
    count_SP: NDArray[np.int64]  # samples with a verdict
    score_SP: NDArray[np.float64]
    finished_SP: NDArray[np.int64] | None
    passed_finished_SP: NDArray[np.float64] | None
    is_binary: bool
    has_samples: bool
    num_without_verdict: int
    mean_tokens: float | None
    about: Mapping[str, Mapping[str, str]]
    versions: Mapping[str, str]
    conditions: Mapping[str, str]
    notes: tuple[str, ...]
    sources: Mapping[str, str]  # problem -> where its first sample stands

    def take(self, problems: Sequence[str]) -> Arm:
        """The arm on these problems, in this order."""
        places = {name: place for place, name in enumerate(self.problems)}
        chosen = [places[name] for name in problems]

        def cut(array: NDArray | None) -> NDArray | None:
            return None if array is None else array[:, chosen]

        return replace(
            self,
            problems=tuple(problems),
            count_SP=self.count_SP[:, chosen],
            score_SP=self.score_SP[:, chosen],
            finished_SP=cut(self.finished_SP),
            passed_finished_SP=cut(self.passed_finished_SP),
        )

    def renamed(self, names: Mapping[str, str]) -> Arm:
        """The arm with other ids for its problems."""
        return replace(
            self,
            problems=tuple(names.get(name, name) for name in self.problems),
            about={names.get(name, name): facts for name, facts in self.about.items()},
            sources={names.get(name, name): source for name, source in self.sources.items()},
        )

    @property
    def rate_SP(self) -> NDArray[np.float64]:
        return self.score_SP / self.count_SP

    @property
    def min_samples(self) -> int:
        return int(self.count_SP.min()) if self.has_samples else 1


def make_arm(name: str, files: Sequence[tuple[str, Results]], runs_are: str | None, first: int | None,
             pass_at_least: float | None) -> Arm:  # fmt: skip
    """Join the files of one model.

    Args:
        runs_are: what several files are: "seeds", training runs of their own, or "samples" of one model.
        first: keep the first n samples of every problem; None keeps all.
        pass_at_least: scores from here on count as passed, others as failed; None keeps the scores.

    Raises:
        UserError: for several files without ``runs_are``, and for two rows of one sample that disagree.
    """
    several = len(files) > 1
    if several and runs_are is None:
        raise UserError(
            f"{name} has {len(files)} files: add runs_are=seeds if they are training runs of their own, or "
            "runs_are=samples if one model was sampled several times"
        )
    notes = [f"{file}: {note}" if several else note for file, results in files for note in results.notes]
    samples: list[tuple[str, int, Sample]] = []
    for index, (file, results) in enumerate(files):
        named = bool({sample.run for sample in results.samples} - {""})
        for sample in results.samples:
            run = sample.run if named or not several or runs_are == "samples" else file
            samples.append((run, index if runs_are == "samples" else 0, sample))
    cells = group(name, samples, notes)
    if first is not None:
        cells = {cell: each[:first] for cell, each in cells.items()}
    value_of = scores(name, cells, pass_at_least, notes)
    arm = arrange(name, files, cells, value_of)
    notes += uneven(arm) + copies(files)
    return replace(arm, notes=tuple(notes))


Cells = dict[tuple[str, str], list[Sample]]  # (run, problem) -> its samples


def group(name: str, samples: Sequence[tuple[str, int, Sample]], notes: list[str]) -> Cells:
    """Samples by run and problem. Two equal rows of one sample count once; two that differ are refused."""
    seen: dict[tuple[str, str, int, int], Sample] = {}
    cells: Cells = defaultdict(list)
    num_twice = 0
    for run, file, sample in samples:
        if sample.number is not None:
            key = run, sample.problem, file, sample.number
            other = seen.setdefault(key, sample)
            if other is not sample:
                if other.score != sample.score:
                    raise UserError(
                        f"{name}: problem {sample.problem}, sample {sample.number} is there twice and differs "
                        f"({other.source}: {other.score}, {sample.source}: {sample.score}): remove the wrong one"
                    )
                num_twice += 1
                continue
        cells[run, sample.problem].append(sample)
    if num_twice:
        notes.append(f"{num_twice} rows are there twice with the same verdict and count once")
    return dict(cells)


def scores(name: str, cells: Cells, pass_at_least: float | None, notes: list[str]) -> dict[float, float]:
    """What every score in the files counts as. Scores of exactly -1 and 1 are those of a reward: -1 is a failure."""
    values = {sample.score for each in cells.values() for sample in each if sample.score is not None}
    if not values:
        raise UserError(f"{name}: no sample has a verdict, so there is nothing to compare")
    if pass_at_least is not None:
        notes.append(f"scores of {pass_at_least:g} and more count as passed")
        mapped = {value: float(value >= pass_at_least) for value in values}
    elif values <= {-1.0, 1.0} and -1.0 in values:
        notes.append("scores are -1 and 1: 1 counts as passed")
        mapped = {-1.0: 0.0, 1.0: 1.0}
    else:
        mapped = {value: value for value in values}
    if not is_verdict(mapped):
        low, high = min(values), max(values)
        if low < 0 or high > 1:
            raise UserError(
                f"{name}: scores lie between {low:g} and {high:g}, which is neither a verdict nor a share: say which "
                "scores count as passed with pass_at_least=NUMBER"
            )
        notes.append("scores are shares and no verdicts: means are compared, and there is no pass@k")
    return mapped


def is_verdict(value_of: Mapping[float, float]) -> bool:
    """Whether every score counts as passed or failed."""
    return set(value_of.values()) <= {0.0, 1.0}


def arrange(name: str, files: Sequence[tuple[str, Results]], cells: Cells, value_of: Mapping[float, float]) -> Arm:
    runs = sorted({run for run, _ in cells}, key=natural)
    problems = sorted({problem for _, problem in cells}, key=natural)
    run_place, problem_place = ({key: i for i, key in enumerate(keys)} for keys in (runs, problems))
    shape = len(runs), len(problems)
    count, total = np.zeros(shape, np.int64), np.zeros(shape)
    finished, passed_finished = np.zeros(shape, np.int64), np.zeros(shape)
    num_without, tokens, knows_finish = 0, [], True
    for (run, problem), each in cells.items():
        at = run_place[run], problem_place[problem]
        for sample in each:
            if sample.tokens is not None:
                tokens.append(sample.tokens)
            if sample.score is None:
                num_without += 1
                continue
            value = value_of[sample.score]
            count[at] += 1
            total[at] += value
            knows_finish &= sample.finished is not None
            if sample.finished:
                finished[at] += 1
                passed_finished[at] += value
    about = {problem: facts for _, results in files for problem, facts in results.about.items()}
    return Arm(
        name=name,
        format="+".join(sorted({results.format for _, results in files})),
        files=tuple(file for file, _ in files),
        runs=tuple(runs),
        problems=tuple(problems),
        count_SP=count,
        score_SP=total,
        finished_SP=finished if knows_finish else None,
        passed_finished_SP=passed_finished if knows_finish else None,
        is_binary=is_verdict(value_of),
        has_samples=all(results.has_samples for _, results in files),
        num_without_verdict=num_without,
        mean_tokens=float(np.mean(tokens)) if tokens else None,
        about=about,
        versions=joined(name, "versions", files),
        conditions=joined(name, "conditions", files),
        notes=(),
        sources={
            problem: cells[run, problem][0].source
            for run in reversed(runs)
            for problem in problems
            if (run, problem) in cells
        },
    )


def joined(name: str, what: str, files: Sequence[tuple[str, Results]]) -> dict[str, str]:
    """Versions or conditions of all files of an arm, which must agree."""
    found: dict[str, str] = {}
    for file, results in files:
        for key, value in getattr(results, what).items():
            if found.setdefault(key, value) != value:
                raise UserError(
                    f"{name}: {key} is {found[key]} in one file and {value} in {file}: compare them as two arms"
                )
    return found


def uneven(arm: Arm) -> list[str]:
    """A note where problems have different numbers of samples."""
    counts = Counter(arm.count_SP.ravel().tolist())
    if len(counts) == 1:
        return []
    usual = counts.most_common(1)[0][0]
    others = sorted({arm.problems[place] for place in np.argwhere(arm.count_SP != usual)[:, 1]}, key=natural)
    return [
        f"{len(others)} of {len(arm.problems)} problems have another number of samples than {usual} "
        f"({min(counts)} to {max(counts)}): {listed(others)}"
    ]


def copies(files: Sequence[tuple[str, Results]]) -> list[str]:
    """A note for two files whose verdicts are all equal."""
    notes = []
    for (first, one), (second, other) in combinations(files, 2):
        mine, theirs = ([(s.problem, s.score, s.tokens) for s in results.samples] for results in (one, other))
        if mine == theirs and len({problem for problem, _, _ in mine}) >= ENOUGH_TO_BE_THE_SAME:
            notes.append(f"{first} and {second} hold the same verdicts everywhere: is one a copy of the other?")
    return notes


def natural(name: str) -> tuple[tuple[int, int | str], ...]:
    """A sorting key in which 9 comes before 10."""
    return tuple((0, int(part)) if part.isdecimal() else (1, part) for part in re.findall(r"[0-9]+|[^0-9]+", name))


def listed(names: Sequence[str], most: int = 5) -> str:
    """The first names of a list, and how many more there are."""
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown
