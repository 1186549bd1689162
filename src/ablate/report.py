"""``python -m ablate.report``: what runs learned, whether it is real, and pages to read every sample in a browser.

    python -m ablate.report experiment=tiny
    python -m ablate.report experiment=main comparison.baseline=gspo report.on_extra_factor=label
    python -m ablate.report experiment=tiny live=true         writes the pages again while the sweep runs
    python -m ablate.report runs=outputs/scratch              any runs, without an experiment file
    python -m ablate.report runs=outputs/scratch/gspo/seed0,outputs/tiny/grpo comparison.factors=[objective]

Writes report.html, samples.html, table.md, table.tex, scores.csv, figures for print, and a page for each run with its
rollouts (runs/), into outputs/<experiment>/report/ or, of runs=DIR, into DIR/report/; report.folder=DIR chooses another
place. Open report.html from the disk: it needs no server and no network. An unfinished sweep has a report too, and is
marked. Of runs= cells are compared only where comparison.factors=[KEY,...] declares in what they may differ.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.errors import MissingConfigException

from ablate.cli import Words, compose, read_words, run_main
from ablate.config import ComparisonConfig, section
from ablate.errors import UserError
from ablate.nearest import did_you_mean
from ablate.sweep import run_names

if TYPE_CHECKING:
    from ablate_analysis.report import Report, ReportConfig


def main() -> None:
    """Write the report, and print in a few lines what it found and where it is."""
    if len(sys.argv) == 1:
        sys.argv.append("--help")
    words = read_words(__doc__, own=("runs", "live"))
    experiment = next((word.partition("=")[2] for word in words.overrides if word.startswith("experiment=")), None)
    if ("runs" in words.own) == (experiment is not None):
        typed = ""
        for key in {word.partition("=")[0] for word in words.overrides} - {"experiment"}:
            if hint := did_you_mean(key, ("experiment", "runs")):
                typed = f"; {key} is no key{hint}"
        raise UserError(f"the report is about experiment=NAME or about runs=DIR: give one of the two{typed}")
    write = of_runs(words) if "runs" in words.own else of_experiment(words, str(experiment))
    if words.own.get("live", "false") not in ("true", "false"):
        raise UserError(f"live={words.own['live']} is not one of true, false")
    is_live = words.own.get("live") == "true"
    report = write(is_live)
    print(*report.summary(), sep="\n", flush=True)
    while is_live and report.is_unfinished:
        time.sleep(report.live_s)
        report = write(report.is_unfinished)
    if is_live:
        print(*write(False).summary(), sep="\n")


def of_experiment(words: Words, experiment: str) -> Callable[[bool], Report]:
    """What writes the report of an experiment, or of a directory of the outputs that no experiment file describes."""
    try:
        values = compose(words.overrides, config_name="report")
    except MissingConfigException as error:
        others = [word for word in words.overrides if not word.startswith("experiment=")]
        outputs = Path(compose(others, config_name="report").paths.outputs) / experiment
        if error.missing_cfg_file != f"experiment/{experiment}" or not outputs.is_dir():
            raise
        return of_runs(Words({"runs": str(outputs)}, tuple(others)))
    config, declared = settings_of(values)
    outputs = Path(values.paths.outputs) / values.experiment
    overrides = [word for word in words.overrides if not word.lstrip("+~").startswith("report.")]
    from ablate_analysis.report import write_report

    return lambda is_live: write_report(outputs, replace(config, live=is_live), declared, run_names(overrides))


def of_runs(words: Words) -> Callable[[bool], Report]:
    """What writes the report of any runs. A factor counts as declared only if it stands on the command line."""
    paths = [Path(path) for path in words.own["runs"].split(",") if path]
    declares = any(word.startswith("comparison.factors=") for word in words.overrides)
    folder = paths[0] / "report" if len(paths) == 1 else Path("outputs/report")
    chosen = any(word.startswith("report.folder=") for word in words.overrides)
    values = compose([*words.overrides, *([] if chosen else [f"report.folder='{folder}'"])], config_name="report")
    config, declared = settings_of(values)
    declared = declared if declares else replace(declared, factors=[])
    from ablate_analysis.report import write_report_of_runs

    name = ", ".join(path.name for path in paths)
    return lambda is_live: write_report_of_runs(paths, replace(config, live=is_live), declared, name)


def settings_of(values: Any) -> tuple[ReportConfig, ComparisonConfig]:
    from omegaconf import OmegaConf

    from ablate_analysis.report import ReportConfig

    config = ReportConfig(**OmegaConf.to_container(values.report, resolve=True))
    return config, section(ComparisonConfig, values.comparison, "comparison")


if __name__ == "__main__":
    run_main(main)
