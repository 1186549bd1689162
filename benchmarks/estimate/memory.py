"""Tensors of a 14B rank during an update, by torch's memory tracker, next to the estimate's sum.

The trainer's own model, data-parallel wrapper and optimizer are built under FakeTensorMode, which allocates nothing, in
a pretended process group. Transformer Engine's layers are those of tests/trainer/te_standin.py, because Transformer
Engine needs a GPU. One row of 40,960 tokens goes forward and backward; a pipeline's first stage holds as many
micro-batches as it has stages.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LAYOUTS = ("gpu8", "gpu16", "gpu16_pp2", "gpu48")
DOUBLES = Path(__file__).parents[2] / "tests" / "trainer"


@dataclass(frozen=True)
class Measured:
    """Bytes of the fullest moment on one rank, and the estimate's."""

    layout: str
    stage: str  # first or last of the pipeline
    tracked: float
    predicted: float

    @property
    def error(self) -> float:
        return self.predicted / self.tracked - 1


def main(words: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layouts", nargs="+", default=list(LAYOUTS))
    parser.add_argument("--layers", type=int, help="of the model; default: all 40")
    options = parser.parse_args(words)
    print("| layout, stage | tracked GB | predicted GB | error |\n|---|---|---|---|")
    for layout in options.layouts:
        for each in measure(layout, options.layers):
            gigabytes = f"{each.tracked / 1e9:.2f} | {each.predicted / 1e9:.2f}"
            print(f"| {layout}, {each.stage} | {gigabytes} | {each.error:+.1%} |", flush=True)


def measure(layout: str, num_layers: int | None = None) -> list[Measured]:
    """Measure the first and the last stage, each in a process of its own: process groups are global."""
    stages = ("first", "last") if layout.endswith("pp2") else ("first",)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"), max_tasks_per_child=1) as pool:
        return list(pool.map(measure_stage, [layout] * len(stages), stages, [num_layers] * len(stages)))


def measure_stage(layout: str, stage: str, num_layers: int | None) -> Measured:
    import torch.distributed as dist
    from torch.testing._internal.distributed.fake_pg import FakeStore

    sys.path.append(str(DOUBLES))
    import te_standin

    te_standin.install()
    from ablate.cli import compose
    from ablate.config import parse
    from ablate.estimate.memory import rank_memory
    from ablate.estimate.shape import shape_of
    from ablate.trainer import cpu

    cpu.import_megatron()
    from megatron.core import parallel_state
    from megatron.core.tensor_parallel.random import model_parallel_cuda_manual_seed

    config = parse(compose(["experiment=nouscoder_14b", f"parallel={layout}"]))
    parallel = config.parallel
    architecture = {**config.model.architecture, **({"num_layers": num_layers} if num_layers else {})}
    rank = 0 if stage == "first" else parallel.tensor * parallel.context * (parallel.pipeline - 1)
    rank *= parallel.world_size // (parallel.tensor * parallel.pipeline * parallel.context)  # ranks of a stage are next
    dist.init_process_group("fake", store=FakeStore(), rank=rank, world_size=parallel.world_size)
    parallel_state.initialize_model_parallel(
        tensor_model_parallel_size=parallel.tensor,
        pipeline_model_parallel_size=parallel.pipeline,
        context_parallel_size=parallel.context,
        create_gloo_process_groups=False,
    )
    assert parallel_state.is_pipeline_first_stage() == (stage == "first")
    assert parallel_state.is_pipeline_last_stage() == (stage == "last" or parallel.pipeline == 1)
    with cpu.answering_for_cuda():
        model_parallel_cuda_manual_seed(0)
    with without_data_dependence():
        tracked = tracked_bytes(architecture, parallel, config.optim)
    return Measured(layout, stage, tracked, rank_memory(shape_of(architecture), parallel).tensors)


@contextlib.contextmanager
def without_data_dependence() -> Iterator[None]:
    """Replace what would read the value of a fake tensor: states of random numbers, and groups of other ranks."""
    import megatron.core.tensor_parallel.random as megatron_random
    import torch.distributed as dist
    from megatron.core import parallel_state

    from ablate.trainer.model import policy

    def mine(gathered: list, own: Any, group: Any = None) -> None:
        gathered[:] = [own] * len(gathered)

    type(megatron_random.get_cuda_rng_tracker()).fork = lambda *args, **kwargs: contextlib.nullcontext()
    megatron_random._get_all_rng_states = lambda *args, **kwargs: (None, None, None)
    megatron_random._set_all_rng_states = lambda *args, **kwargs: None
    megatron_random._fork_rng = lambda *args, **kwargs: contextlib.nullcontext()
    dist.all_gather_object = mine
    for name in ("get_data_parallel_group_gloo", "get_expert_data_parallel_group_gloo"):
        setattr(
            parallel_state,
            name,
            lambda *args, **kwargs: parallel_state.get_data_parallel_group(with_context_parallel=True),
        )
    policy.PolicyModel.to = lambda self, device: self  # torch cannot move a fake parameter, and it is there already
    yield  # this process ends with its measurement: nothing is put back


def tracked_bytes(architecture: dict[str, Any], parallel: Any, optim: Any) -> float:
    """Bytes of the fullest moment, from the model's construction to the end of the backward pass."""
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.distributed._tools.mem_tracker import MemTracker

    from ablate.models.architecture import pinned_architecture
    from ablate.trainer import cpu
    from ablate.trainer.model.policy import build_model
    from ablate.trainer.optimizer import build_optimizer, wrap_data_parallel

    tracker, device = MemTracker(), torch.device("cpu")
    with FakeTensorMode(allow_non_fake_inputs=True):
        shape = pinned_architecture(architecture)
        model = build_model(shape, parallel, None, parallel.max_tokens_per_micro_batch, device)
        tracker.track_external(model)
        with tracker, cpu.answering_for_cuda():
            optimizer = build_optimizer(wrap_data_parallel(model, parallel), parallel, optim)
            for each in getattr(optimizer, "chained_optimizers", [optimizer]):
                each.init_state_fn(each.optimizer, each.config)  # Adam's moments, which the first step makes
            forward_and_backward(model, shape, parallel, tracker)
        return tracker.get_tracker_snapshot("peak")[device]["Total"]


def forward_and_backward(model: Any, shape: Any, parallel: Any, tracker: Any) -> None:
    """One micro-batch, or on the first stage of a pipeline as many as it has in flight."""
    import torch
    from megatron.core import parallel_state

    from ablate.trainer.model.logprobs import response_logp_entropy

    num_tokens = parallel.max_tokens_per_micro_batch
    tokens = torch.zeros(1, num_tokens, dtype=torch.int64)
    is_first, is_last = parallel_state.is_pipeline_first_stage(), parallel_state.is_pipeline_last_stage()

    def forward() -> torch.Tensor:
        tracker.reset_mod_stats()
        if not is_first:
            size = (num_tokens // parallel.tensor, 1, shape.hidden_size)
            model.set_input_tensor([torch.empty(size, dtype=torch.bfloat16, requires_grad=True)])
        out = model(tokens, None, None, packed_seq_params=None)
        if not is_last:
            return out
        logp, _ = response_logp_entropy(
            out,
            model.output_weight_VD,
            tokens.t(),
            mask=None,
            vocab_size=shape.vocab_size,
            temperature=1.0,
            chunk_tokens=parallel.logp_chunk_tokens,
            tp_group=parallel_state.get_tensor_model_parallel_group(),
        )
        return logp.sum()

    in_flight = [forward() for _ in range(1 if is_last else parallel.pipeline)]
    while in_flight:
        out = in_flight.pop(0)
        torch.autograd.backward(out, None if is_last else torch.empty_like(out))
