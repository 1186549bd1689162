"""What a float32 head in the engine is worth, by the size of the logits: python benchmarks/head.py

Two engines (rollout.engine.head_dtype=float32 and =model) sample from the same bf16 model, and the bf16 trainer, whose
logits are always float32, gives its own log-probability of every sampled token. Rounding is relative, and softmax does
not see what all logits have in common, so a model whose likely tokens have large logits loses more of what tells them
apart. A random model has small ones: it is measured with a common part added to its logits. One input of its head is
nearly constant, like the few huge activations of a large model, and the head reads the common part from there. How
large the part is in a real model is a question to that model.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from dataclasses import replace
from pathlib import Path

import torch
from transformers import Qwen3ForCausalLM

from ablate import objectives
from ablate.cli import compose
from ablate.config import RunConfig, parse
from ablate.doctor import compute
from ablate.rollout.open import close_engines, open_engine
from ablate.trainer.batching import make_batch

HUGE = 8.0  # of the constant input, in standard deviations of the others
HEADS = ("float32", "model")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--common", type=float, nargs="+", default=[0.0, 8.0, 16.0, 32.0], help="part of all logits")
    parser.add_argument("--override", nargs="*", default=[], help="configuration")
    options = parser.parse_args()
    words = ["parallel.precision=bf16", "rollout.engine.dtype=bfloat16", *options.override]
    config = parse(compose(words))
    print("difference of trainer and engine, nats a token: mean, and root of the mean square\n")
    print(f"{'common part':>11}{'tokens':>16}" + "".join(f"{'head_dtype=' + head:>28}" for head in HEADS))
    for common in options.common:
        with tempfile.TemporaryDirectory() as scratch:
            model_dir = compute.write_model(Path(scratch), seed=1)
            add_common_part(model_dir, common)
            rows = [differences(config, model_dir, head) for head in HEADS]
        counts = ", ".join(str(len(row)) for row in rows)
        gaps = [f"{row.abs().mean():.2e}, {row.square().mean().sqrt():.2e}" for row in rows]
        print(f"{common:>11g}{counts:>16}" + "".join(f"{gap:>28}" for gap in gaps), flush=True)
    print(f"load average {os.getloadavg()[0]:.1f}")


def add_common_part(model_dir: Path, common: float) -> None:
    """Save the model with ``common`` added to all of its logits; the head is a matrix of its own from then on."""
    model = Qwen3ForCausalLM.from_pretrained(model_dir, dtype=torch.float32)
    embedding_VD = model.model.embed_tokens.weight.data
    head_VD = embedding_VD.clone()
    spread = embedding_VD.std().item()
    embedding_VD[:, 0] = HUGE * spread * embedding_VD.shape[1] ** 0.5
    tokens_BS = torch.randint(3, embedding_VD.shape[0], (8, 128), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        hidden_BSD = model.model(tokens_BS).last_hidden_state
    model.model.norm.weight.data[1:] /= hidden_BSD[..., 1:].std()  # the huge input has shrunk the others
    head_VD[:, 0] = common / hidden_BSD[..., 0].mean()
    model.config.tie_word_embeddings = False
    model.lm_head.weight = torch.nn.Parameter(head_VD)
    model.save_pretrained(model_dir)


def differences(config: RunConfig, model_dir: Path, head: str) -> torch.Tensor:
    """Trainer minus engine for every token that the engine sampled, nats."""
    engine_config = compute.engine_config(replace(config.rollout.engine, head_dtype=head))
    engine = open_engine(model_dir, engine_config, compute.CONTEXT, compute.CONTEXT)
    batch = make_batch(compute.sampled_groups(engine, config), objectives.build(config.objective))
    close_engines()
    logp_BT, _ = compute.open_trainer(config, model_dir).logp(batch)
    return (logp_BT - batch.rollout_logp_BT)[batch.mask_BT].double()


if __name__ == "__main__":
    main()
