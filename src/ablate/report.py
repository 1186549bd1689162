"""``python -m ablate.report experiment=tiny``: tables, figures and one self-contained page for an experiment's runs.

    python -m ablate.report experiment=main comparison.baseline=gspo report.on_extra_factor=label

Writes report.html, table.md, table.tex, scores.csv and every figure as PNG and SVG into
outputs/<experiment>/report/. The work is done by the package ``analysis``.
"""

from __future__ import annotations

from pathlib import Path

from ablate.cli import compose, read_words, run_main
from ablate.config import ComparisonConfig, section


def main() -> None:
    """Write the report of one experiment, and print where it is and what it found."""
    words = read_words(__doc__, own=(), required=("experiment",))
    from omegaconf import OmegaConf

    from analysis.report import ReportConfig, write_report

    values = compose(words.overrides, config_name="report")
    config = ReportConfig(**OmegaConf.to_container(values.report, resolve=True))
    declared = section(ComparisonConfig, values.comparison, "comparison")
    outputs = Path(values.paths.outputs) / values.experiment
    page, sentences = write_report(outputs, config, declared)
    print(*(f"- {sentence}" for sentence in sentences), page, sep="\n")


if __name__ == "__main__":
    run_main(main)
