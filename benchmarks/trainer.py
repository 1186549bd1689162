"""A training step against plain transformers, and what it is made of: python benchmarks/trainer.py

The same batch, the same loss and the same update by transformers (SDPA attention, AdamW) and by the trainer, on one
thread. CPU seconds, not wall seconds: other processes on the machine change them less. Each figure is the smallest of
the rounds; the contenders take turns. transformers is run twice: on the whole padded batch, as most trainers call it,
and on the trainer's own micro-batches.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ablate import objectives
from ablate.cli import compose, objective_config
from ablate.config import RunConfig, parse
from ablate.objectives.metrics import step_metrics
from ablate.trainer import batching
from ablate.trainer.trainer import Trainer
from ablate.types import Completion, Problem, RolloutGroup, TrainBatch, Verdict, VerdictKind

SIZES = {  # hidden, MLP, layers
    "0.4M": (96, 192, 4),
    "3M": (256, 768, 4),
}
VOCAB_SIZE, HEAD_DIM, NUM_GROUPS, GROUP_SIZE, PROMPT_TOKENS, MAX_RESPONSE = 104, 32, 8, 8, 50, 110


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--objective", default="gspo")
    parser.add_argument("--max-tokens", type=int, nargs="+", help="of a micro-batch; default: parallel=single's")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--json", type=Path, help="also write the measurements to this file")
    options = parser.parse_args()
    config = parse(compose([f"objective={options.objective}"]))
    torch.set_num_threads(1)
    rows = []
    print(f"{NUM_GROUPS * GROUP_SIZE} rows of {PROMPT_TOKENS} + 10 to {MAX_RESPONSE} tokens, {options.objective}, fp32")
    for size in options.sizes:
        for max_tokens in options.max_tokens or [config.parallel.max_tokens_per_micro_batch]:
            rows.append({"size": size, "max_tokens": max_tokens} | measure(size, max_tokens, config, options.rounds))
            show(rows[-1])
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))


def measure(size: str, max_tokens: int, config: RunConfig, rounds: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as scratch:
        model_dir = write_model(Path(scratch), *SIZES[size])
        parallel = replace(config.parallel, max_tokens_per_micro_batch=max_tokens, num_threads=1)
        trainer = Trainer(
            model_dir,
            replace(config.model, original_context=1024),
            parallel,
            config.optim,
            context_length=1024,
            total_updates=1000,
            temperature=1.0,
        )
        model = plain_model(model_dir)
    objective = objectives.build(config.objective)
    batch = batching.make_batch(rollout_groups(), objective)
    batch = replace(batch, old_logp_BT=trainer.logp(batch)[0])
    contenders = plain_steps(model, trainer, batch, objective) | trainer_steps(trainer, batch, objective)
    return smallest_cpu_s(contenders, rounds)


def plain_steps(model: Any, trainer: Trainer, batch: TrainBatch, objective: Any) -> dict[str, Callable[[], object]]:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.0)
    plan = plan_of(trainer, batch)

    def step(parts: list[TrainBatch]) -> None:
        optimizer.zero_grad()
        for part in parts:
            logit_BTV = model(part.tokens_BS, use_cache=False).logits[:, :-1]
            logp_BT = logit_BTV.log_softmax(dim=-1).gather(2, part.tokens_BS[:, 1:, None])[..., 0]
            objective.loss(logp_BT, part).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return {
        "transformers": lambda: step([batch]),
        "transformers_micro_batches": lambda: step([batching.cut(batch, m) for m in plan]),
    }


def trainer_steps(trainer: Trainer, batch: TrainBatch, objective: Any) -> dict[str, Callable[[], object]]:
    likelihood = objectives.build(objective_config("sft"))
    groups, logp_BT = rollout_groups(), batch.old_logp_BT
    leaf_BT = logp_BT.clone().requires_grad_()
    return {
        "step": lambda: trainer.update(batch, objective),
        "step_without_metrics": lambda: trainer.update(batch, objective, with_metrics=False),
        "bare_step": lambda: trainer.update(batch, likelihood, with_metrics=False),  # its loss is one product and a sum
        "logp": lambda: trainer.logp(batch),
        "of_which_objective": lambda: objective.loss(leaf_BT, batch).backward(),
        "of_which_metrics": lambda: step_metrics(objective, logp_BT, batch),
        "of_which_micro_batches": lambda: [batching.cut(batch, m) for m in plan_of(trainer, batch)],
        "make_batch": lambda: batching.make_batch(groups, objective),
    }


def plan_of(trainer: Trainer, batch: TrainBatch) -> list[batching.MicroBatch]:
    lengths = batching.row_lengths(batch)
    budget, packing = trainer.parallel.max_tokens_per_micro_batch, trainer.parallel.packing
    return batching.plan_micro_batches(lengths, budget, num_ranks=1, row_multiple=1, multiple_of=1, packing=packing)[0]


def smallest_cpu_s(contenders: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    smallest = dict.fromkeys(contenders, float("inf"))
    for _ in range(rounds):
        for name, run in contenders.items():
            start = time.process_time()
            run()
            smallest[name] = min(smallest[name], time.process_time() - start)
    return smallest


def show(row: dict[str, Any]) -> None:
    step, plain, cut = row["step"], row["transformers"], row["transformers_micro_batches"]
    print(f"\n{row['size']} parameters, micro-batches of {row['max_tokens']} tokens: CPU ms")
    print(f"  transformers, whole batch     {plain * 1e3:8.1f}")
    print(f"  transformers, micro-batches   {cut * 1e3:8.1f}")
    print(f"  step                          {step * 1e3:8.1f}   {step / plain:.2f} x and {step / cut:.2f} x of these")
    for name in ("step_without_metrics", "bare_step", "logp"):
        print(f"  {name:30}{row[name] * 1e3:8.1f}   {row[name] / step:.0%} of a step")
    for name in ("of_which_objective", "of_which_metrics", "of_which_micro_batches", "make_batch"):
        print(f"  {name:30}{row[name] * 1e3:8.1f}   {row[name] / row['bare_step']:.1%} of a bare step")


def write_model(directory: Path, hidden_size: int, mlp_size: int, num_layers: int) -> Path:
    from transformers import Qwen3Config, Qwen3ForCausalLM

    config = Qwen3Config(
        vocab_size=VOCAB_SIZE,
        hidden_size=hidden_size,
        intermediate_size=mlp_size,
        num_hidden_layers=num_layers,
        num_attention_heads=hidden_size // HEAD_DIM,
        num_key_value_heads=hidden_size // HEAD_DIM // 2 or 1,
        head_dim=HEAD_DIM,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        initializer_range=0.1,
        dtype="float32",
    )
    if config.num_attention_heads % config.num_key_value_heads:
        config.num_key_value_heads = config.num_attention_heads
    Qwen3ForCausalLM(config).save_pretrained(directory)
    return directory


def plain_model(model_dir: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(model_dir, attn_implementation="sdpa", dtype=torch.float32)


def rollout_groups() -> list[RolloutGroup]:
    generator = torch.Generator().manual_seed(0)

    def tokens(count: int) -> tuple[int, ...]:
        return tuple(torch.randint(1, VOCAB_SIZE, (count,), generator=generator).tolist())

    groups = []
    for _ in range(NUM_GROUPS):
        prompt, completions, verdicts = tokens(PROMPT_TOKENS), [], []
        for sample in range(GROUP_SIZE):
            response = tokens(int(torch.randint(10, MAX_RESPONSE, (1,), generator=generator)))
            completions.append(Completion("p", sample, 0, prompt, response, (-4.0,) * len(response), "", finished=True))
            kind = VerdictKind.accepted if sample % 2 else VerdictKind.wrong_answer
            verdicts.append(Verdict(kind, 0, 1, None, 0.0, 0.0, 0.0))
        groups.append(RolloutGroup(Problem("p", "", (), "easy"), tuple(completions), tuple(verdicts)))
    return groups


if __name__ == "__main__":
    main()
