"""Laws: what must hold for every objective, and the committed values of the objectives in conf/objective.

    python -m ablate.laws laws=my_objective        which laws an objective keeps; exit code 1 if one is broken
    python -m ablate.laws laws=all                 one table: every objective of conf/objective, every law
    python -m ablate.laws golden=check             compare every objective of conf/objective with golden.json
    python -m ablate.laws golden=record            write golden.json; commit it with the reason for the change

Every other word is an override, as for ablate.train: objective.clip_high=0.3, overlong=mask,
'hydra.searchpath=[file://my_conf]'.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from ablate.check_run import objective_with
from ablate.cli import objective_config, objective_names, read_words, run_main
from ablate.errors import UserError

LAW_BATCHES = 24
TABLE_BATCHES = 8  # of each objective in the table


def main() -> int:
    words = read_words(__doc__, own=("laws", "golden"))
    own, overrides = words.own, words.overrides
    if len(own) != 1:
        raise UserError("ablate.laws needs either laws=NAME or golden=check|record: see python -m ablate.laws --help")
    if "golden" in own:
        return golden_values(own["golden"], overrides)
    return print_table(overrides) if own["laws"] == "all" else print_laws(own["laws"], overrides)


def print_laws(name: str, overrides: Sequence[str]) -> int:
    """Print one line per law; return 1 if one is broken."""
    from ablate.objectives import build
    from ablate.objectives.laws import examine, weaknesses

    objective = build(objective_with(name, overrides))
    findings = examine(objective, LAW_BATCHES)
    for finding in findings:
        print(f"{finding.status:15} {finding.law:42} {finding.detail}")
    for weakness in weaknesses(objective):
        print(weakness)
    num_broken = sum(finding.status == "broken" for finding in findings)
    num_kept = sum(finding.status == "holds" for finding in findings)
    print(f"{objective.name}: {num_kept} laws hold, {num_broken} broken, of {len(findings)}")
    return int(num_broken > 0)


def print_table(overrides: Sequence[str]) -> int:
    """Print objectives x laws; return 1 if one is broken."""
    import torch

    from ablate.objectives import build
    from ablate.objectives.laws import MARKS, examine, table, weaknesses

    torch.set_num_threads(1)  # the tensors are small
    objectives = [build(objective_with(name, overrides)) for name in objective_names()]
    findings = {objective.name: examine(objective, TABLE_BATCHES) for objective in objectives}
    print("\n".join(table(findings)))
    print(*(f"{objective.name}: {line}" for objective in objectives for line in weaknesses(objective)), sep="\n")
    counts = {status: sum(each.status == status for row in findings.values() for each in row) for status in MARKS}
    print(f"{len(findings)} objectives: {', '.join(f'{count} {status}' for status, count in counts.items())}")
    return int(counts["broken"] > 0)


def golden_values(action: str, overrides: Sequence[str]) -> int:
    """Compare with golden.json, or write it; return 1 if something differs."""
    from ablate.objectives.laws import golden

    if action not in ("check", "record"):
        raise UserError(f"golden={action} is not one of check, record")
    # Dr. GRPO's constant is the context length, which must not move the committed values.
    words = [*overrides, "context.length=160"]
    values = golden.golden_values({name: objective_config(name, words) for name in objective_names()})
    if action == "record":
        golden.write_golden(values)
        print(f"recorded {len(values)} objectives in {golden.GOLDEN_FILE}")
        return 0
    changed = golden.changed_values(values)
    print("\n".join(changed) or f"{len(values)} objectives as committed")
    return int(bool(changed))


if __name__ == "__main__":
    run_main(lambda: sys.exit(main()))
