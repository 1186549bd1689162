"""Build the tiny model: ``python -m ablate.warm_start.build DIR OUT``, where DIR/build.json says how.

DIR gets the name OUT when the model is complete and on disk.

A model of random weights learns the demonstrations of a problem family with the project's own trainer.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ablate.config import ModelConfig, ParallelConfig, section
from ablate.data.demonstration import Demonstration
from ablate.data.families import FAMILIES
from ablate.files import sync_tree
from ablate.warm_start.recipe import BuildConfig, build_config

if TYPE_CHECKING:
    from torch import Tensor

    from ablate.objectives.base import Objective
    from ablate.types import TrainBatch

MAX_FILE_BYTES = 5 * 10**9
STEPS_BETWEEN_LINES = 25


def build(model: ModelConfig, parallel: ParallelConfig, out_dir: Path, say: Callable[[str], None]) -> None:
    """Train ``model`` in this process and write it to ``out_dir``."""
    from ablate import objectives
    from ablate.trainer.model.weight_files import write_weight_files
    from ablate.trainer.trainer import Trainer

    config = build_config(model)
    write_model_files(model, config, out_dir)
    write_weight_files(initial_weights(out_dir, config), out_dir, MAX_FILE_BYTES)
    trainer = Trainer(
        out_dir,
        model,
        parallel,
        config.optim,
        context_length=model.original_context,
        total_updates=config.num_steps,
        temperature=1.0,
    )
    objective = objectives.build(config.objective)
    started_s = time.monotonic()
    for step, batch in enumerate(lesson_batches(config, objective, out_dir, model.original_context), start=1):
        loss = trainer.update(batch, objective, with_metrics=False)["train/loss"]
        if step % STEPS_BETWEEN_LINES == 0 or step == config.num_steps:
            seconds = time.monotonic() - started_s
            say(f"warm start of {model.name}: step {step}/{config.num_steps}, loss {loss:.3f}, {seconds:.0f} s")
    trainer.gather_weights(lambda weights: write_weight_files(weights, out_dir, MAX_FILE_BYTES))


def write_model_files(model: ModelConfig, config: BuildConfig, out_dir: Path) -> None:
    """Write config.json, generation_config.json and the tokenizer.

    config.json also holds the YaRN betas, next to Hugging Face's own keys, because trainer and engine read them there.
    """
    from ablate.data.tokenizer import character_tokenizer

    tokenizer = character_tokenizer()
    tokenizer.save_pretrained(out_dir)
    shape = model.architecture or {}
    tokens = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    values = {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "vocab_size": shape["vocab_size"],
        "hidden_size": shape["hidden_size"],
        "intermediate_size": shape["mlp_size"],
        "num_hidden_layers": shape["num_layers"],
        "num_attention_heads": shape["num_heads"],
        "num_key_value_heads": shape["num_kv_heads"],
        "head_dim": shape["head_dim"],
        "rms_norm_eps": shape["norm_eps"],
        "rope_parameters": {"rope_type": "default", "rope_theta": shape["rope_theta"]},
        "yarn_beta_fast": config.yarn_beta_fast,
        "yarn_beta_slow": config.yarn_beta_slow,
        "tie_word_embeddings": shape["tied_embeddings"],
        "max_position_embeddings": model.original_context,
        "initializer_range": config.initializer_range,
        "hidden_act": "silu",
        "attention_bias": False,
        "use_sliding_window": False,
        "dtype": "float32",
        **tokens,
    }
    # 0 switches top-k off; without a value, transformers uses 50.
    sampling = {"do_sample": True, "temperature": 1.0, "top_p": 1.0, "top_k": 0}
    (out_dir / "config.json").write_text(json.dumps(values, indent=2) + "\n")
    (out_dir / "generation_config.json").write_text(json.dumps({**sampling, **tokens}, indent=2) + "\n")


def initial_weights(model_dir: Path, config: BuildConfig) -> Iterator[tuple[str, Tensor]]:
    """Yield norms of 1 and normal weights of standard deviation ``initializer_range``, by Hugging Face's names."""
    import torch

    from ablate.models.architecture import read_architecture
    from ablate.trainer.model.weights import megatron_weights

    generator = torch.Generator().manual_seed(config.seed)
    for weight in megatron_weights(read_architecture(model_dir), fused_norms=False):
        for name, shape in weight.hf:
            is_norm = len(shape) == 1
            yield (
                name,
                torch.ones(shape) if is_norm else config.initializer_range * torch.randn(shape, generator=generator),
            )


def lesson_batches(config: BuildConfig, objective: Objective, model_dir: Path, length: int) -> Iterator[TrainBatch]:
    """Yield one batch per update; a row is cut after ``length`` tokens, so that the model sees no position beyond."""
    from ablate.data.prompts import make_prompts
    from ablate.data.templates import Templates
    from ablate.data.tokenizer import load_tokenizer

    family = FAMILIES[config.family]
    tokenizer = load_tokenizer(model_dir)
    prompts = make_prompts(family.taught(), tokenizer, Templates(config.template))
    prompt_ids = {prompt.problem_id: prompt.token_ids for prompt in prompts}

    def rows(demonstration: Demonstration) -> tuple[tuple[int, ...], tuple[int, ...]]:
        prompt = prompt_ids[demonstration.problem_id]
        response = tokenizer(demonstration.response, add_special_tokens=False)["input_ids"]
        return prompt, tuple(response[: length - len(prompt)])

    for index, lesson in enumerate(config.lessons):
        noise = family.noise_type(**lesson.noise)
        for batch in family.demonstration_batches(noise, lesson.batch_size, lesson.steps, config.seed + index):
            yield supervised_batch([rows(each) for each in batch], objective)


def supervised_batch(rows: list[tuple[tuple[int, ...], tuple[int, ...]]], objective: Objective) -> TrainBatch:
    """Make a batch of (prompt, response) pairs in which every row counts; nothing was sampled, so log p is 0."""
    import torch

    from ablate.objectives.batch import build_batch
    from ablate.trainer.batching import to_tensors

    tokens_BS, mask_BT, logp_BT = to_tensors([(prompt, response, (0.0,) * len(response)) for prompt, response in rows])
    reward_PG = torch.ones(len(rows), 1, dtype=torch.float64)
    return build_batch(
        objective,
        reward_PG=reward_PG,
        truncated_PG=torch.zeros_like(reward_PG, dtype=torch.bool),
        length_PG=mask_BT.sum(dim=1).view_as(reward_PG),
        mask_BT=mask_BT,
        old_logp_BT=logp_BT,
        rollout_logp_BT=logp_BT,
        tokens_BS=tokens_BS,
    )


def main(directory: str, out: str) -> None:
    def say(line: str) -> None:
        # A terminal shows one line that is overwritten; a file gets one line after another.
        print(line, end="\r" if sys.stderr.isatty() else "\n", file=sys.stderr, flush=True)

    sections = json.loads((Path(directory) / "build.json").read_text())
    model = section(ModelConfig, sections["model"], "model")
    build(model, section(ParallelConfig, sections["parallel"], "parallel"), Path(directory), say)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    sync_tree(Path(directory))
    Path(directory).rename(out)


if __name__ == "__main__":
    from ablate.cli import run_main

    run_main(lambda: main(*sys.argv[1:]))
