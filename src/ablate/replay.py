"""``python -m ablate.replay cases=IN.json out=OUT.json``: advantages, losses and gradients of a list of cases.

    python -m ablate.replay cases=cases.json out=results.json objective.clip_high=0.3

Every other word is an override of the objectives: objective.clip_high=0.3, 'hydra.searchpath=[file://my_conf]'.
"""

from __future__ import annotations

import sys
from pathlib import Path

from ablate.check_run import objective_with
from ablate.cli import hand_over, read_words, run_main


def main() -> None:
    if any(word.startswith("rollouts=") for word in sys.argv[1:]):  # a former command line
        return hand_over("ablate.replay rollouts=", "ablate.laboratory", sys.argv[1:])
    words = read_words(__doc__, ("cases", "out"), required=("cases", "out"))
    from ablate_analysis.cases import replay_file

    cases, out = words.own["cases"], words.own["out"]
    num_cases = replay_file(Path(cases), Path(out), lambda name: objective_with(name, words.overrides))
    print(f"{num_cases} cases replayed into {out}")


if __name__ == "__main__":
    run_main(main)
