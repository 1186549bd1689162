"""``python -m ablate.export``: a checkpoint as a Hugging Face model directory, with a model card.

    python -m ablate.export checkpoint=outputs/tiny/grpo/seed0/checkpoints/step_000040 out=exported
    python -m ablate.export checkpoint=outputs/tiny/grpo/seed0/checkpoints/best out=exported

Writes safetensors, config.json, generation_config.json, the tokenizer and README.md into a new directory. One process
is enough for any layout. The run's records must lie next to the checkpoint. Keys: checkpoint=DIR, out=DIR.
"""

from __future__ import annotations

import sys
from pathlib import Path

from ablate.cli import run_main
from ablate.errors import UserError


def main() -> None:
    words = sys.argv[1:]
    if not words or {"-h", "--help"} & set(words):
        print(__doc__)
        return
    given = dict(word.split("=", 1) if "=" in word else (word, "") for word in words)
    unknown = sorted(set(given) - {"checkpoint", "out"})
    if unknown or set(given) != {"checkpoint", "out"}:
        named = f"{unknown[0]} is not a key" if unknown else "both keys are needed"
        raise UserError(f"{named}: python -m ablate.export checkpoint=DIR out=DIR")
    from ablate.export.model_directory import export

    export(Path(given["checkpoint"]), Path(given["out"]))
    print(f"{given['out']}: written")


if __name__ == "__main__":
    run_main(main)
