"""Whether an experiment varies only its declared factors: the cells' resolved configurations are compared first."""

from __future__ import annotations

from collections.abc import Sequence

from ablate.errors import UserError
from ablate.records.provenance import kind_of_device
from ablate_analysis.load import Experiment, Run, is_under, swept_keys


def undeclared(experiment: Experiment, factors: Sequence[str]) -> list[str]:
    """Return ``key: cell value, cell value`` for every key that differs and that no declared factor covers."""
    keys = [key for key in swept_keys(experiment.runs) if not is_under(key, factors)]
    return [f"{key}: {values_by_cell(key, experiment.runs)}" for key in keys]


def values_by_cell(key: str, runs: Sequence[Run]) -> str:
    seen: dict[str, list[str]] = {}
    for run in runs:
        values = seen.setdefault(run.cell, [])
        if str(run.settings.get(key)) not in values:
            values.append(str(run.settings.get(key)))
    return ", ".join(f"{cell} {'/'.join(values)}" for cell, values in seen.items())


def check_one_factor(experiment: Experiment, factors: Sequence[str], on_extra_factor: str) -> list[str]:
    """Refuse to compare cells that differ in more than the declared factors, or return sentences that label them.

    Args:
        factors: keys, or their prefixes, in which the cells may differ.
        on_extra_factor: ``refuse`` or ``label``.

    Raises:
        UserError: when refusing, naming the keys and their values.
    """
    extra = undeclared(experiment, factors)
    if extra and on_extra_factor == "refuse":
        raise UserError(
            f"{experiment.name} declares comparison.factors={list(factors)}, but its cells also differ in "
            f"{'; '.join(extra)}: declare it, run the cells alike, or add report.on_extra_factor=label"
        )
    labels = [f"Not one factor. The cells also differ in {difference}." for difference in extra]
    return [*labels, *provenance_labels(experiment.runs)]


def provenance_labels(runs: Sequence[Run]) -> list[str]:
    """Sentences about runs that do not come from one clean commit, one set of packages and one kind of device."""
    labels = []
    commits = sorted({run.commit for run in runs})
    if len(commits) > 1:
        labels.append(f"The runs come from {len(commits)} commits: {', '.join(commits)}.")
    if any(commit.endswith("+") for commit in commits):
        labels.append("A commit marked + had uncommitted changes.")
    if len({repr(run.manifest.get("packages")) for run in runs}) > 1:
        labels.append("The runs used different package versions; see their manifests.")
    return [*labels, *device_labels(runs)]


def device_labels(runs: Sequence[Run]) -> list[str]:
    """A sentence that names the cells of every kind of device, where there is more than one kind."""
    cells: dict[str, set[str]] = {}
    for run in runs:
        for attempt in run.manifest.get("attempts") or [{}]:
            cells.setdefault(kind_of_device(attempt), set()).add(run.cell)
    if len(cells) < 2:
        return []
    shown = "; ".join(f"{kind}: {', '.join(sorted(names))}" for kind, names in sorted(cells.items()))
    return [f"The runs were made on {len(cells)} kinds of device, whose numbers differ at equal seeds ({shown})."]


def what_differs(experiment: Experiment, cell: str, baseline: str) -> list[str]:
    """Return ``key: baseline's value -> the cell's`` for the keys in which a cell differs from the baseline."""
    mine, base = experiment.runs_of(cell), experiment.runs_of(baseline)
    if not mine or not base:
        return []
    old, new = base[0].settings, mine[0].settings
    keys = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
    return [f"{key}: {old.get(key)} -> {new.get(key)}" for key in keys]
