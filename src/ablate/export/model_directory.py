"""Write a checkpoint of a run as a Hugging Face model directory."""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablate.cli import recorded
from ablate.errors import UserError
from ablate.files import read_json, sync, sync_tree
from ablate.models.hf_config import read_hf_config, stretched
from ablate.warm_start.build import MAX_FILE_BYTES

if TYPE_CHECKING:
    from ablate.config import RunConfig

TOKENIZER_FILES = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.json", "merges.txt", "chat_template.jinja"),
)
DTYPE_NAMES = {"fp32": "float32", "bf16": "bfloat16"}


def export(checkpoint: Path, out: Path, max_file_bytes: int = MAX_FILE_BYTES) -> Path:
    """Write the model directory ``out``, which appears whole or not at all; return the checkpoint that was taken.

    Raises:
        UserError: when ``out`` exists, the checkpoint is missing or damaged, or its run's records are not next to it.
    """
    from ablate.config import parse
    from ablate.records import RunDirectory, checkpoint_directory
    from ablate.trainer.checkpoint.directory import step_of
    from ablate.warm_start import ensure_model
    from ablate_analysis.model_card import model_card

    if out.exists():
        raise UserError(f"out={out} exists already: name a new directory, or remove it")
    checkpoint = checkpoint_directory(checkpoint)
    run = RunDirectory(checkpoint.resolve().parents[1])
    config = parse(recorded(run.config_path, []))
    model_dir = ensure_model(config)
    with unfinished(out) as scratch:
        write_weights(config, model_dir, checkpoint, scratch, max_file_bytes)
        write_json(scratch / "config.json", model_config(config, read_hf_config(model_dir)))
        write_json(scratch / "generation_config.json", generation_config(config, model_dir))
        for name in TOKENIZER_FILES:
            if (model_dir / name).is_file():
                shutil.copyfile(model_dir / name, scratch / name)
        (scratch / "README.md").write_text(model_card(config, run, step_of(checkpoint.name)))
    return checkpoint


@contextmanager
def unfinished(out: Path) -> Iterator[Path]:
    """Yield a directory next to ``out`` that gets its name when the block ends; a killed export's is taken over.

    Raises:
        UserError: while another process writes it.
    """
    scratch = out.with_name(f".{out.name}.unfinished")
    scratch.mkdir(parents=True, exist_ok=True)
    lock = scratch / "lock"
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"another process writes out={out} now: wait for it, or name another directory") from None
        try:
            for leftover in scratch.iterdir():
                if leftover != lock:
                    leftover.unlink()
            yield scratch
            lock.unlink()
            sync_tree(scratch)
            scratch.rename(out)
            sync(out.parent)
        except BaseException:
            shutil.rmtree(scratch, ignore_errors=True)
            raise


def write_weights(config: RunConfig, model_dir: Path, checkpoint: Path, directory: Path, max_file_bytes: int) -> None:
    """Read the checkpoint's weights under a layout of one process and write them under Hugging Face's names."""
    from ablate.trainer.checkpoint.whole_weights import checkpoint_tensors
    from ablate.trainer.model.weight_files import write_weight_files

    longest = config.context.longest
    write_weight_files(checkpoint_tensors(checkpoint, model_dir, config.parallel, longest), directory, max_file_bytes)


def model_config(config: RunConfig, base: dict[str, Any]) -> dict[str, Any]:
    """The base model's config.json with the dtype of these weights, and YaRN where training stretched the context."""
    values = {key: value for key, value in base.items() if key != "torch_dtype"}
    values["dtype"] = DTYPE_NAMES[config.parallel.precision]
    longest = config.context.longest
    return values | stretched(base, longest, config.model.original_context)


def generation_config(config: RunConfig, model_dir: Path) -> dict[str, Any]:
    """The sampling under which the scores of the model card were measured, and the base model's special tokens."""
    base = read_hf_config(model_dir)
    own = model_dir / "generation_config.json"
    base |= read_json(own) if own.is_file() else {}
    tokens = {key: base[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id") if base.get(key) is not None}
    # 0 switches top-k off, for transformers and for vLLM; without a value, transformers takes 50.
    sampling = {"temperature": config.eval.temperature, "top_p": config.eval.top_p, "top_k": 0}
    return {**tokens, "do_sample": True, **sampling}


def write_json(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2) + "\n")
