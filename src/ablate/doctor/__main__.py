"""``python -m ablate.doctor``: what to run first on a new machine.

    python -m ablate.doctor                               # for the tiny run
    python -m ablate.doctor experiment=nouscoder_14b      # for the machine of this experiment
    python -m ablate.doctor json=true

Checks the files of model and data, packages, driver, CPUs and memory, compiler, Transformer Engine, open files, disk,
sandbox, control groups, engine, weight hand-off, trainer, packing noise, numerics, links between processes and nodes, a
hand-off to a server, the collector's memory, Modal and W&B. Prints a line for each as soon as it is known: ok, warning,
failed or not needed, and the fix. Exit code 1 if a check failed, else 0. slurm/submit.sh --doctor experiment=NAME runs
it on every node of an allocation.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING

from ablate.check_run import missing_files
from ablate.cli import compose, read_words, run_main
from ablate.doctor.finding import OK, WARNING, Finding, counts, exit_code, row, run_checks
from ablate.errors import UserError

if TYPE_CHECKING:
    from ablate.config import RunConfig

LIMIT_S = 300.0  # of a check that computes
NEEDS = {"sandbox": "Modal"}  # without a token both would fail for one reason
GPU_LIMIT_S = 900.0  # the first start of vLLM on a GPU compiles kernels


def findings_of(overrides: tuple[str, ...]) -> Iterator[Finding]:
    """Run every check for the configuration that ``overrides`` compose, and yield each finding when it is known."""
    import torch

    from ablate.config import parse
    from ablate.doctor import machine, sandbox
    from ablate.doctor.child import in_child
    from ablate.doctor.compute import compute
    from ablate.doctor.hand_off import collector_memory, hand_off
    from ablate.doctor.links import links, links_between_nodes

    limit_s = GPU_LIMIT_S if torch.cuda.is_available() else LIMIT_S
    config = parse(compose(overrides))
    checks = {
        "files": partial(files, config),
        "packages": partial(machine.packages, torch.cuda.is_available()),
        "GPU driver": partial(machine.driver, config),
        "CPUs and memory": partial(machine.cpus_and_memory, config),
        "compiler": partial(machine.compiler, config),
        "Transformer Engine": partial(machine.transformer_engine, config),
        "open files": partial(machine.open_files, config),
        "disk": partial(machine.disk, config),
        "shared disk": partial(machine.shared_disk, config),
        "links between nodes": partial(in_child, "links between nodes", links_between_nodes, config, limit_s),
        "Modal": partial(machine.modal_credentials, config),
        "W&B": partial(machine.wandb_login, config),
        "sandbox": partial(sandbox.sandbox, config),
        "engine and trainer": partial(in_child, "engine and trainer", compute, config, limit_s),
        "links": partial(in_child, "links", links, config, limit_s),
        "hand-off to a server": partial(in_child, "hand-off to a server", hand_off, config, limit_s),
        "collector": partial(in_child, "collector", collector_memory, config, limit_s),
    }
    yield from run_checks(checks, NEEDS)


def files(config: RunConfig) -> list[Finding]:
    """The model and the data that the run reads. They may be fetched later, so a missing one is a warning."""
    missing = missing_files(config)
    return [Finding("files", WARNING, sentence) for sentence in missing] or [
        Finding("files", OK, f"{config.model.path or f'model {config.model.name} (built here)'}, {config.data.train}")
    ]


def main() -> None:
    words = read_words(__doc__, ("json",))
    as_json = words.own.get("json", "false")
    if as_json not in ("true", "false"):
        raise UserError(f"json={as_json} is neither true nor false: write json=true")
    findings = []
    for finding in findings_of(words.overrides):
        findings.append(finding)
        if as_json == "false":
            print(row(finding), flush=True)
    print(json.dumps([asdict(each) for each in findings], indent=1) if as_json == "true" else counts(findings))
    raise SystemExit(exit_code(findings))


if __name__ == "__main__":
    run_main(main)
