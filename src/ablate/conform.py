"""Which objective is my loss function? Compare a function of your own with every objective here.

    python -m ablate.conform my_trainer.py:policy_loss
    python -m ablate.conform my_trainer.py:policy_loss micro_batches=sum advantages=row

The function takes (logp, old_logp, advantages, mask), float64 tensors of rows x tokens (with advantages=row, one
number a row), and returns the scalar loss of one micro-batch. It is called on generated batches, whole and split into
micro-batches, and its gradient by every log-probability is compared with that of each objective and of recombined
parts.

micro_batches=mean|sum   how your trainer adds micro-batches up: most divide by their number (default: mean)
objectives=[grpo,gspo]   compare with these only
"""

from __future__ import annotations

import sys

from ablate.cli import help_page, read_words, run_main
from ablate.errors import UserError


def main() -> None:
    if len(sys.argv) < 2 or {"-h", "--help"} & set(sys.argv[1:]):
        print(help_page(__doc__))
        return
    places = [word for word in sys.argv[1:] if "=" not in word]
    sys.argv = [sys.argv[0], *(word for word in sys.argv[1:] if "=" in word)]
    words = read_words(__doc__, ("micro_batches", "advantages", "objectives"), overrides=False)
    if len(places) != 1 or ":" not in places[0]:
        raise UserError(f"one FILE.py:function is needed, and {' '.join(places) or 'nothing'} was given")
    from ablate_analysis.conform import examine

    print(*examine(places[0], words.own), sep="\n")


if __name__ == "__main__":
    run_main(main)
