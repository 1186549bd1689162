"""What of several arms pairs: the same problems, made in the same way. What does not is refused or named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from ablate.errors import UserError
from ablate_analysis.results.arms import Arm, listed, natural

ENOUGH_IN_COMMON = 0.95  # of the ids; below it the ids that one side lacks are listed first
FEW_CLUSTERS = 20
MUCH_MORE_CUT = 0.1  # difference of the finish rates


@dataclass(frozen=True)
class Paired:
    """Arms on the problems that all of them answered, in one order, with what must be said about them."""

    arms: tuple[Arm, ...]
    warnings: tuple[str, ...]
    clusters: tuple[str, ...] | None  # of the problems, where some cluster holds more than one

    @property
    def problems(self) -> tuple[str, ...]:
        return self.arms[0].problems

    def facts(self, key: str) -> list[str | None]:
        """A fact of every problem, such as its difficulty, from the first arm that knows it."""
        return [next((arm.about[name][key] for arm in self.arms if key in arm.about.get(name, {})), None)
                for name in self.problems]  # fmt: skip


def pair(arms: Sequence[Arm]) -> Paired:
    """Keep the problems that every arm answered.

    Raises:
        UserError: if versions differ, or no problem is common.
    """
    warnings = []
    for first, second in combinations(arms, 2):
        check_versions(first, second)
        warnings += differing_conditions(first, second)
    arms = with_equal_ids(list(arms), warnings)
    common = set.intersection(*(answered(arm) for arm in arms))
    if not common:
        examples = "; ".join(f"{arm.name} has {listed(arm.problems, 3)}" for arm in arms)
        raise UserError(f"the arms have no problem in common ({examples}): compare results of the same set of problems")
    warnings += lacking(arms, common)
    problems = sorted(common, key=natural)
    taken = tuple(arm.take(problems) for arm in arms)
    warnings += prompts(taken) + counts(taken) + finishing(taken)
    paired = Paired(taken, (), None)
    clusters = paired.facts("cluster")
    if any(each is not None for each in clusters) and len(set(clusters)) < len(problems):
        names = tuple(each if each is not None else name for each, name in zip(clusters, problems, strict=True))
        few = len(set(names))
        warnings.append(f"{len(problems)} problems come in {few} cluster{'s' * (few > 1)}, the unit of every error"
                        + ("; with so few, intervals may be too narrow" if few < FEW_CLUSTERS else ""))  # fmt: skip
        return Paired(taken, tuple(warnings), names)
    return Paired(taken, tuple(warnings), None)


def check_versions(first: Arm, second: Arm) -> None:
    for key in sorted(set(first.versions) & set(second.versions)):
        if first.versions[key] != second.versions[key]:
            raise UserError(
                f"{first.name} and {second.name} do not pair: {key} is {first.versions[key]} and {second.versions[key]}"
                ": evaluate both in the same way, or choose the same metric for both"
            )


def differing_conditions(first: Arm, second: Arm) -> list[str]:
    return [
        f"{key} differs: {first.name} has {first.conditions[key]}, {second.name} has {second.conditions[key]}"
        for key in sorted(set(first.conditions) & set(second.conditions))
        if first.conditions[key] != second.conditions[key]
    ]


def answered(arm: Arm) -> set[str]:
    """The problems on which every run of the arm has a verdict."""
    return {name for name, whole in zip(arm.problems, (arm.count_SP > 0).all(axis=0), strict=True) if whole}


def with_equal_ids(arms: list[Arm], warnings: list[str]) -> list[Arm]:
    """The arms with ids that mean the same document: by hash where the ids shifted, by place where prompts differ."""
    documents = [{name: facts.get("document") for name, facts in arm.about.items()} for arm in arms]
    if all(any(each.values()) for each in documents):
        common = set.intersection(*(set(each) for each in documents))
        if any(len({each[name] for each in documents}) > 1 for name in common):
            warnings.append(
                "the same doc_id names different documents: problems are paired by the hash of the document"
            )
            return [arm.renamed(unique(each)) for arm, each in zip(arms, documents, strict=True)]
    if not set.intersection(*(set(arm.problems) for arm in arms)):
        places = [
            {name: facts["alternative"] for name, facts in arm.about.items() if "alternative" in facts} for arm in arms
        ]
        if all(places) and set.intersection(*(set(each.values()) for each in places)):
            warnings.append(
                "prompts differ everywhere (other chat templates?): problems are paired by place and answer"
            )
            return [arm.renamed(each) for arm, each in zip(arms, places, strict=True)]
    return arms


def unique(names: dict[str, str | None]) -> dict[str, str]:
    """New names; those of equal documents are numbered."""
    seen: Counter[str] = Counter()
    made = {}
    for old in sorted(names, key=natural):
        new = str(names[old])
        seen[new] += 1
        made[old] = new if seen[new] == 1 else f"{new}#{seen[new]}"
    return made


def lacking(arms: Sequence[Arm], common: set[str]) -> list[str]:
    """A sentence for every arm with problems that another arm lacks, or that have no verdict."""
    told = []
    everything = set().union(*(arm.problems for arm in arms))
    for arm in arms:
        only = sorted(set(arm.problems) - common, key=natural)
        missing = len(everything - answered(arm))
        if only or missing:
            told.append(
                f"{arm.name}: {len(common)} of its {len(arm.problems)} problems are used"
                + (f"; not used: {listed(only)}" if only else "")
                + (f"; it lacks {missing} that another arm has" if missing else "")
            )
    few = len(common) < ENOUGH_IN_COMMON * len(everything)
    return [f"only {len(common)} of {len(everything)} problems are common", *told] if few else told


def prompts(arms: Sequence[Arm]) -> list[str]:
    known = [[arm.about.get(name, {}).get("prompt") for arm in arms] for name in arms[0].problems]
    differing = sum(None not in each and len(set(each)) > 1 for each in known)
    return [f"{differing} problems were asked with different prompts or examples"] if differing else []


def counts(arms: Sequence[Arm]) -> list[str]:
    usual = {arm.name: int(np.median(arm.count_SP)) for arm in arms if arm.has_samples}
    if len(set(usual.values())) <= 1:
        return []
    shown = ", ".join(f"{name} {count}" for name, count in usual.items())
    return [f"numbers of samples differ ({shown}): Pass@1 is not biased by that; pass@k is compared up to the smallest"]


def finishing(arms: Sequence[Arm]) -> list[str]:
    rates = {arm.name: arm.finished_SP.sum() / arm.count_SP.sum() for arm in arms if arm.finished_SP is not None}
    if len(rates) < 2 or max(rates.values()) - min(rates.values()) < MUCH_MORE_CUT:
        return []
    worst = min(rates, key=rates.get)
    return [f"{worst} was cut off much more often than another arm: look at the finish rates"]
