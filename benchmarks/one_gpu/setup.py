"""Models, batches and trainers of the checks: large on a GPU, small on a CPU."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import torch

from ablate import objectives
from ablate.config import ModelConfig, OptimConfig, ParallelConfig
from ablate.trainer.trainer import Trainer
from ablate.types import TrainBatch

HAS_GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda", 0) if HAS_GPU else torch.device("cpu")
TEMPERATURE = 0.8
SINGLE = ParallelConfig(
    tensor=1,
    pipeline=1,
    context=1,
    sequence_parallel=False,
    distributed_optimizer=False,
    world_size=None,
    precision="fp32",
    transformer_engine=False,
    attention="auto",
    fp8="none",
    fp8_recipe="tensorwise",
    recompute="none",
    recompute_layers=None,
    num_threads=1,
    collective_timeout_s=60,
    leader_timeout_s=60,
    silence_s=15,
    packing=False,
    max_tokens_per_micro_batch=4096,
    logp_chunk_tokens=2048,
    megatron={},
)
OPTIM = OptimConfig(
    lr=1e-4,
    min_lr=0.0,
    schedule="constant",
    warmup_steps=0,
    weight_decay=0.1,
    beta1=0.9,
    beta2=0.95,
    eps=1e-8,
    clip_grad=1.0,
    updates_per_batch=1,
    old_logp="trainer",
)
GSPO = {
    "name": "gspo",
    "keep": "all",
    "shape": "verdict",
    "overlong": "train",
    "advantage": "group_normalised",
    "ratio": "sequence",
    "surrogate": "clipped",
    "weight": "sequence_mean",
    "eps": 1e-6,
    "clip_low": 0.2,  # wide, so that a second update on the same batch has a gradient
    "clip_high": 0.2,
}
SMALL = {
    "vocab_size": 1024,
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
}
QWEN3_1_7B = {  # Qwen/Qwen3-1.7B, config.json
    "vocab_size": 151_936,
    "hidden_size": 2048,
    "intermediate_size": 6144,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
}


def write_model(sizes: dict[str, int], context: int, *, dtype: str = "float32") -> Path:
    """A Qwen3 of random weights in a directory of its own, which the check's process leaves to the system."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    directory = Path(tempfile.mkdtemp(prefix="ablate-one-gpu-"))
    torch.manual_seed(1)
    config = Qwen3Config(
        **sizes,
        max_position_embeddings=context,
        initializer_range=0.02 if sizes is QWEN3_1_7B else 0.1,
        tie_word_embeddings=True,
        eos_token_id=2,
        pad_token_id=0,
        rope_theta=1e6,
        dtype=dtype,
    )
    with torch.device(DEVICE):
        model = Qwen3ForCausalLM(config).to(getattr(torch, dtype))
    model.save_pretrained(directory)
    return directory


def open_trainer(model_dir: Path, parallel: ParallelConfig, context: int) -> Trainer:
    model = ModelConfig(name="one_gpu", path=None, build=None, original_context=context, num_parameters=None)
    return Trainer(model_dir, model, parallel, OPTIM, context_length=context, total_updates=10, temperature=TEMPERATURE)


def objective() -> objectives.Objective:
    return objectives.build(GSPO)


def random_batch(lengths: list[int], vocab_size: int, prompt: int = 8) -> TrainBatch:
    """Rows of these many tokens, in two groups whose first half succeeded."""
    from ablate.trainer.batching import make_batch
    from ablate.types import Completion, Problem, RolloutGroup, Verdict, VerdictKind

    generator = torch.Generator().manual_seed(2)
    size = len(lengths) // 2
    groups = []
    for first in range(0, 2 * size, size):
        completions, verdicts = [], []
        for index, length in enumerate(lengths[first : first + size]):
            ids = torch.randint(3, vocab_size, (length,), generator=generator).tolist()
            logp = [-1.0] * (length - prompt)
            completions.append(Completion("p", index, index, tuple(ids[:prompt]), tuple(ids[prompt:]), logp, "", True))
            kind = VerdictKind.accepted if index % 2 == 0 else VerdictKind.wrong_answer
            verdicts.append(Verdict(kind, 0, 1, None, 0.0, 0.0, 0.0))
        groups.append(RolloutGroup(Problem("p", "", (), "easy"), tuple(completions), tuple(verdicts)))
    return make_batch(groups, objective())


def on_policy(trainer: Trainer, batch: TrainBatch) -> TrainBatch:
    return replace(batch, old_logp_BT=trainer.logp(batch)[0])


def synchronize() -> None:
    if HAS_GPU:
        torch.cuda.synchronize()
