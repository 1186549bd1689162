"""``python -m ablate.report experiment=tiny``: tables, figures, and pages to read an experiment's runs in a browser.

    python -m ablate.report experiment=main comparison.baseline=gspo report.on_extra_factor=label

Writes report.html, table.md, table.tex, scores.csv, every figure as PNG and SVG, and a page for each run with its saved
rollouts (runs/) into outputs/<experiment>/report/. Open report.html from the disk: it needs no server and no network.
An unfinished sweep has a report too, marked as unfinished. The work is done by the package ``ablate_analysis``.
"""

from __future__ import annotations

from pathlib import Path

from ablate.cli import compose, read_words, run_main
from ablate.config import ComparisonConfig, section
from ablate.sweep import run_names


def main() -> None:
    """Write the report of one experiment, and print in a few lines what it found and where it is."""
    words = read_words(__doc__, own=(), required=("experiment",))
    values = compose(words.overrides, config_name="report")
    from omegaconf import OmegaConf

    from ablate_analysis.report import ReportConfig, write_report

    config = ReportConfig(**OmegaConf.to_container(values.report, resolve=True))
    declared = section(ComparisonConfig, values.comparison, "comparison")
    outputs = Path(values.paths.outputs) / values.experiment
    planned = run_names([word for word in words.overrides if not word.lstrip("+~").startswith("report.")])
    report = write_report(outputs, config, declared, planned)
    print(*report.summary(), sep="\n")


if __name__ == "__main__":
    run_main(main)
