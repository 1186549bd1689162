"""The model a run starts from: a given checkpoint, or the tiny one, built on first use and cached.

The tiny model learns noisy solutions (``ablate.data.demonstrations``) with the project's own trainer. The build runs in
a process of its own, ``python -m ablate.warm_start RECIPE.json OUT_DIR``, so that neither this process's threads nor
its place in a job of many can change a bit of the weights.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablate.config import ModelConfig, OptimConfig, ParallelConfig, RunConfig, section
from ablate.data.demonstrations import Demonstration, NoiseConfig, demonstration_batches
from ablate.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from ablate.objectives.base import Objective
    from ablate.types import TrainBatch

# What a build reads beside its recipe: a change in one of these files makes another model.
SOURCES = (
    "warm_start.py",
    "seeding.py",
    "data/tiny.py",
    "data/demonstrations.py",
    "data/tokenizer.py",
    "data/prompts.py",
)
LAUNCHER_VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
MAX_FILE_BYTES = 5 * 10**9


@dataclass
class LessonConfig:
    steps: int
    batch_size: int
    noise: NoiseConfig


@dataclass
class LayoutConfig:
    """The part of ``parallel`` that can change a bit of the result on one process."""

    num_threads: int
    max_tokens_per_micro_batch: int
    logp_chunk_tokens: int


@dataclass
class BuildConfig:
    """``model.build``: everything that the tiny model's weights depend on, beside its architecture."""

    seed: int
    initializer_range: float
    yarn_beta_fast: float
    yarn_beta_slow: float
    template: str
    objective: dict[str, Any]
    optim: OptimConfig
    layout: LayoutConfig
    lessons: list[LessonConfig]


def ensure_model(config: RunConfig) -> Path:
    """Return the Hugging Face directory a run starts from, building it first where the configuration says how.

    Every process of a job may call it at once, and so may several jobs: one builds, the others wait. A build that is
    killed leaves nothing that would be taken for a model.

    Raises:
        UserError: when neither ``model.path`` nor ``model.build`` is given, or the directory does not exist.
    """
    model = config.model
    if model.path is not None:
        path = Path(model.path).expanduser()
        if not (path / "config.json").is_file():
            raise UserError(f"model.path={model.path} holds no config.json: name a Hugging Face model directory")
        return path
    if model.build is None or model.architecture is None:
        raise UserError("model.path, model.build and model.architecture are null: give a path, or what to build")
    recipe = make_recipe(model)
    cache = Path(config.paths.cache).expanduser().absolute()
    path = cache / f"{model.name}-{digest(recipe)}"
    if not path.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        with locked(cache / f".{path.name}.lock"):
            if not path.is_dir():
                build_in_child(recipe, config.parallel, path)
    return path


def make_recipe(model: ModelConfig) -> dict[str, Any]:
    """Return, as JSON values, all that the weights depend on.

    Raises:
        UserError: when ``model.build`` does not follow its schema.
    """
    build = section(BuildConfig, model.build, "model.build")
    return {"model": {**asdict(model), "build": asdict(build)}, "sources": {name: source(name) for name in SOURCES}}


def source(name: str) -> str:
    return hashlib.sha256((Path(__file__).parent / name).read_bytes()).hexdigest()


def digest(recipe: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:16]


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on ``path``; the system frees it when the process ends, however it ends."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def build_in_child(recipe: Mapping[str, Any], parallel: ParallelConfig, path: Path) -> None:
    """Build into a directory beside ``path`` and rename it when it is whole. The caller holds the lock."""
    scratch = path.with_name(f".{path.name}.unfinished")
    shutil.rmtree(scratch, ignore_errors=True)  # of a build that was killed
    scratch.mkdir()
    layout = recipe["model"]["build"]["layout"]
    alone = replace(
        parallel,
        tensor=1,
        pipeline=1,
        context=1,
        sequence_parallel=False,
        distributed_optimizer=False,
        world_size=None,
        precision="fp32",
        transformer_engine=False,
        recompute="none",
        **layout,
    )
    recipe_path = scratch / "recipe.json"
    recipe_path.write_text(json.dumps({**recipe, "parallel": asdict(alone)}, indent=1) + "\n")
    environment = {name: value for name, value in os.environ.items() if name not in LAUNCHER_VARIABLES}
    environment |= {"OMP_NUM_THREADS": str(layout["num_threads"]), "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "ablate.warm_start", str(recipe_path), str(scratch)]
    result = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, stdout=sys.stderr.fileno(), check=False)
    if result.returncode != 0:
        raise RuntimeError(f"the warm start ended with exit status {result.returncode}: its own message stands above")
    scratch.rename(path)


def build(recipe: Mapping[str, Any], out_dir: Path, say: Callable[[str], None]) -> None:
    """Train the model of ``recipe`` and write it to ``out_dir``, in this process alone."""
    from ablate import objectives
    from ablate.trainer.step import Trainer
    from ablate.trainer.weights import write_weight_files

    model = section(ModelConfig, recipe["model"], "model")
    config = section(BuildConfig, model.build, "model.build")
    parallel = section(ParallelConfig, recipe["parallel"], "parallel")
    write_model_files(model, config, out_dir)
    write_weight_files(initial_weights(out_dir, config), out_dir, MAX_FILE_BYTES)
    num_steps = sum(lesson.steps for lesson in config.lessons)
    trainer = Trainer(
        out_dir,
        model,
        parallel,
        config.optim,
        context_length=model.original_context,
        total_optimizer_steps=num_steps,
        temperature=1.0,
    )
    objective = objectives.build(config.objective)
    started_s = time.monotonic()
    for step, batch in enumerate(lesson_batches(config, objective, out_dir, model.original_context), start=1):
        metrics = trainer.step(batch, objective, with_metrics=False)
        if step % 25 == 0 or step == num_steps:
            seconds = time.monotonic() - started_s
            say(
                f"warm start of {model.name}: step {step}/{num_steps}, loss {metrics['train/loss']:.3f}, {seconds:.0f} s"
            )
    write_weight_files(trainer.hf_tensors(), out_dir, MAX_FILE_BYTES)


def write_model_files(model: ModelConfig, config: BuildConfig, out_dir: Path) -> None:
    """Write config.json, generation_config.json and the tokenizer.

    The YaRN betas stand in config.json beside Hugging Face's own keys: trainer and engine read them there.
    """
    from ablate.data.tokenizer import character_tokenizer

    tokenizer = character_tokenizer()
    tokenizer.save_pretrained(out_dir)
    shape = model.architecture or {}
    if shape["vocab_size"] != len(tokenizer):
        raise UserError(
            f"model.architecture.vocab_size={shape['vocab_size']}, the tokenizer has {len(tokenizer)}: use that"
        )
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
    # 0 switches top-k off; where nothing is said, transformers takes 50.
    sampling = {"do_sample": True, "temperature": 1.0, "top_p": 1.0, "top_k": 0}
    (out_dir / "config.json").write_text(json.dumps(values, indent=2) + "\n")
    (out_dir / "generation_config.json").write_text(json.dumps({**sampling, **tokens}, indent=2) + "\n")


def initial_weights(model_dir: Path, config: BuildConfig) -> Iterator[tuple[str, Tensor]]:
    """Norms of 1 and normal weights of standard deviation ``initializer_range``, by Hugging Face's names."""
    import torch

    from ablate.trainer.architecture import read_architecture
    from ablate.trainer.weights import slots

    generator = torch.Generator().manual_seed(config.seed)
    for slot in slots(read_architecture(model_dir), fused_norms=False):
        for name, shape in slot.hf:
            is_norm = len(shape) == 1
            yield (
                name,
                torch.ones(shape) if is_norm else config.initializer_range * torch.randn(shape, generator=generator),
            )


def lesson_batches(config: BuildConfig, objective: Objective, model_dir: Path, length: int) -> Iterator[TrainBatch]:
    """Yield one batch per optimizer step. Demonstrations beyond ``length`` tokens are cut: no position beyond is seen."""
    from ablate.data.prompts import make_prompts
    from ablate.data.tiny import make_problem, split
    from ablate.data.tokenizer import load_tokenizer

    train, _, rest = split()
    combinations = [*train, *rest]
    tokenizer = load_tokenizer(model_dir)
    prompts = make_prompts([make_problem(each) for each in combinations], tokenizer, config.template)
    prompt_ids = {prompt.problem_id: prompt.token_ids for prompt in prompts}

    def rows(demonstration: Demonstration) -> tuple[tuple[int, ...], tuple[int, ...]]:
        prompt = prompt_ids[demonstration.combination.id]
        response = tokenizer(demonstration.response, add_special_tokens=False)["input_ids"]
        return prompt, tuple(response[: length - len(prompt)])

    for index, lesson in enumerate(config.lessons):
        seed = config.seed + index
        batches = demonstration_batches(combinations, lesson.noise, lesson.batch_size, lesson.steps, seed)
        for batch in batches:
            yield supervised_batch([rows(each) for each in batch], objective)


def supervised_batch(rows: list[tuple[tuple[int, ...], tuple[int, ...]]], objective: Objective) -> TrainBatch:
    """Lay (prompt, response) pairs out as a batch in which every row counts; nothing was sampled, so log p is 0."""
    import torch

    from ablate.trainer.batching import lay_out
    from ablate.types import Completion, TrainBatch

    completions = [
        Completion("", 0, 0, prompt, response, (0.0,) * len(response), "", True) for prompt, response in rows
    ]
    tokens_BS, mask_BT, logp_BT = lay_out(completions)
    weight_BT = objective.weights(mask_BT, torch.ones(len(rows), dtype=torch.bool)).float()
    return TrainBatch(tokens_BS, mask_BT, logp_BT, logp_BT, torch.ones(len(rows)), weight_BT)


def main(recipe_path: str, out_dir: str) -> None:
    def say(line: str) -> None:
        # A terminal keeps one line that moves; a file gets one line at a time.
        print(line, end="\r" if sys.stderr.isatty() else "\n", file=sys.stderr, flush=True)

    build(json.loads(Path(recipe_path).read_text()), Path(out_dir), say)
    if sys.stderr.isatty():
        print(file=sys.stderr)


if __name__ == "__main__":
    from ablate.cli import run_main

    run_main(lambda: main(*sys.argv[1:]))
