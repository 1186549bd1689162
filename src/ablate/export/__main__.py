"""``python -m ablate.export``: a checkpoint as a Hugging Face model directory, with a model card.

    python -m ablate.export checkpoint=outputs/tiny/grpo/seed0/checkpoints/step_000040 out=exported
    python -m ablate.export checkpoint=outputs/tiny/grpo/seed0 out=exported

Writes safetensors, config.json, generation_config.json, the tokenizer and README.md into a new directory. One process
is enough for any layout. The run's records must lie next to the checkpoint. Keys: checkpoint=DIR
(a checkpoint, or a run: then its best one, or its newest while none is known to be best) and out=DIR.
"""

from __future__ import annotations

from pathlib import Path

from ablate.cli import read_words, run_main

OWN_KEYS = ("checkpoint", "out")


def main() -> None:
    words = read_words(__doc__, OWN_KEYS, required=OWN_KEYS, overrides=False).own
    from ablate.export.model_directory import export

    checkpoint = export(Path(words["checkpoint"]), Path(words["out"]))
    print(f"{words['out']}: written from {checkpoint}")


if __name__ == "__main__":
    run_main(main)
