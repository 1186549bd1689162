"""``python -m ablate.report experiment=tiny``: tables, figures and one self-contained page for an experiment's runs.

    python -m ablate.report experiment=main comparison.baseline=gspo report.on_extra_factor=label

Writes report.html, table.md, table.tex, scores.csv and every figure as PNG and SVG into
outputs/<experiment>/report/. The work is done by the package ``analysis``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import hydra

from ablate.cli import CONF_DIR, run_main, stop
from ablate.errors import UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig


@hydra.main(config_path=CONF_DIR, config_name="report", version_base="1.3")
def main(values: DictConfig) -> None:
    """Write the report of one experiment and say where it is and what it found."""
    from omegaconf import OmegaConf

    from analysis.report import ReportConfig, write_report

    config = ReportConfig(**OmegaConf.to_container(values.report, resolve=True))
    outputs = Path(values.paths.outputs) / values.experiment
    comparison = OmegaConf.to_container(values.comparison, resolve=True)
    try:
        page, sentences = write_report(outputs, config, comparison["factors"], comparison["baseline"])
    except UserError as error:
        stop(str(error))  # Hydra would put a line of its own before the sentence
    print(*(f"- {sentence}" for sentence in sentences), page, sep="\n")


if __name__ == "__main__":
    run_main(main)
