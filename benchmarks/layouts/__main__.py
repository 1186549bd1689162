"""Layouts of the trainer next to one process: ``python -m benchmarks.layouts PART... [--only LAYOUT...]``.

engine       Transformer Engine's double: packed and padded rows, every kind of recomputation, TP, SP, PP, resuming
             and exporting
proportions  eight processes over gloo, with the heads of the 14B model: TP8, and TP2 x PP2 x DP2, in fp32 and bf16
collectives  a whole step, log-probabilities, a gather, a save and its resumption under the layouts for GPUs: the
             members of every group make the same calls in the same order
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cases
import jobs
import layout_runs
import torch
from collectives import first_disagreement
from random_models import write_random_model

from ablate.trainer.checkpoint.whole_weights import checkpoint_tensors
from benchmarks.layouts.compare import (
    FP32_LIMITS,
    TIMES_ONE_PROCESS,
    all_within,
    bf16_gaps,
    fp32_gaps,
    header,
    row,
    times,
)

ENGINE = {  # layout -> processes
    "te_packed": 1,
    "te": 1,
    "te_packed_full": 1,
    "te_packed_onelayer": 1,
    "te_packed_selective": 1,
    "te_packed_distributed": 2,
    "te_tp2": 2,
    "te_tp2_sp_packed": 2,
    "te_tp2_sp_packed_full": 2,
    "te_tp2_sp_packed_onelayer": 2,
    "te_tp2_sp_packed_selective": 2,
    "te_pp2_packed": 2,
    "te_pp2_packed_onelayer": 2,
    "te_tp2_sp_pp2_packed_full": 4,
    "te_tp2_sp_packed_full_distributed": 4,
}
EIGHT = ("te_tp8_sp_packed_full", "te_tp2_sp_pp2_packed_full_distributed")
PROPORTIONS = (*EIGHT, "tp8_sp_packed_full", *(f"{name}_bf16" for name in EIGHT))
COLLECTIVES = {"gpu4": 4, "gpu8": 8, "gpu16": 16, "gpu16_pp2": 16, "gpu48": 48}
# 14B: 40 heads on 8 kv heads, an MLP 3.4 times as wide as the hidden states.
SHAPE_14B = {"hidden_size": 80, "head_dim": 8, "num_attention_heads": 40, "num_key_value_heads": 8}
LIMIT_S = 3000


class Bench:
    """One random model, what one process finds with it, and jobs of several processes."""

    def __init__(self, root: Path, **shape: Any) -> None:
        self.root, self.checkpoints = root, root / "checkpoints"
        self.model_dir = write_random_model(root / "model", "qwen3", tied=False, **shape)

    def run_alone(self) -> dict[str, Any]:
        alone = layout_runs.run_layout(self.model_dir, cases.SINGLE, None)
        for name in ("single", "single_bf16"):
            layout = cases.layout_named(name)
            layout_runs.write_checkpoint(self.model_dir, layout, self.checkpoints / name, alone["logp"])
        torch.save(alone["logp"], self.checkpoints / "old_logp.pt")
        single = self.checkpoints / "single"
        alone["resumed"] = layout_runs.resume(self.model_dir, cases.SINGLE, single, alone["logp"])
        return alone

    def run_job(self, size: int, kind: str, layout: str) -> tuple[dict[str, Any], str | None]:
        """What rank 0 of a job found, and the first disagreement among its ranks' collectives."""
        out = self.root / f"{kind}_{layout}"
        out.mkdir()
        has_engine = ["te"] if kind == "step" or layout.startswith("te") else []
        words = [kind, *has_engine, f"{self.checkpoints}={self.model_dir}={layout}"]
        codes = jobs.wait_for_ranks([jobs.start_forked_ranks(size, words, out)], out, LIMIT_S)
        if codes != [0]:
            sys.exit(f"{layout} failed:\n{jobs.logs(out)[:4000]}")
        found = torch.load(out / f"{self.checkpoints.name}_{layout}.pt", weights_only=False)
        calls = [torch.load(out / f"collectives{rank}.pt", weights_only=False) for rank in range(size)]
        return found, first_disagreement(calls)

    def exported(self, layout: str) -> dict[str, torch.Tensor]:
        """The checkpoint of a layout, as ``ablate.export`` reads it: one process, Megatron's own layers."""
        checkpoint = self.checkpoints / layout / "step_000001"
        return dict(checkpoint_tensors(checkpoint, self.model_dir, cases.layout_named(layout), cases.CONTEXT))


def compare(bench: Bench, layouts: dict[str, int]) -> Iterator[tuple[str, bool]]:
    alone = bench.run_alone()
    bf16_limits = None
    for layout, size in layouts.items():
        found, problem = bench.run_job(size, "parity", layout)
        if problem:
            print(problem)
        if layout.endswith("bf16"):
            if bf16_limits is None:
                one = layout_runs.run_layout(bench.model_dir, replace(cases.SINGLE, precision="bf16"), alone["logp"])
                bf16_limits = times(bf16_gaps(alone, one), TIMES_ONE_PROCESS)
            gaps, limits = bf16_gaps(alone, found), bf16_limits
        else:
            gaps, limits = fp32_gaps(alone, found, bench.exported(layout)), FP32_LIMITS
        yield row(layout, size, gaps, limits, problem is None)


def compare_collectives(bench: Bench, layouts: dict[str, int]) -> Iterator[tuple[str, bool]]:
    for layout, size in layouts.items():
        found, problem = bench.run_job(size, "step", layout)
        assert found["extra"] == {"step": 1}
        gap = layout_runs.largest_gap(found["weights"], found["resumed_weights"])
        if problem:
            print(problem)
        yield row(layout, size, {"resumed": gap}, {"resumed": 0.0}, problem is None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", choices=["engine", "proportions", "collectives", "all"])
    parser.add_argument("--only", nargs="+", help="of the layouts of these parts")
    options = parser.parse_args()

    def chosen(layouts: dict[str, int]) -> dict[str, int]:
        return {name: size for name, size in layouts.items() if not options.only or name in options.only}

    root = Path(tempfile.mkdtemp(prefix="layouts-"))
    print(header())
    parts = ["engine", "proportions", "collectives"] if "all" in options.parts else options.parts
    is_well = True
    try:
        if "engine" in parts:
            is_well &= all_within(compare(Bench(root / "engine"), chosen(ENGINE)))
        if "proportions" in parts:
            layouts = chosen(dict.fromkeys(PROPORTIONS, 8))
            is_well &= all_within(compare(Bench(root / "proportions", **SHAPE_14B), layouts))
        if "collectives" in parts:
            is_well &= all_within(compare_collectives(Bench(root / "collectives", **SHAPE_14B), chosen(COLLECTIVES)))
    finally:
        shutil.rmtree(root)
    sys.exit(0 if is_well else 1)


if __name__ == "__main__":
    main()
