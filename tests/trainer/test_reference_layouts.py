"""The 14B models, built on the meta device as the ranks of a layout's first copy build them, add up as published.

The layouts ask for Transformer Engine, which needs a GPU; its layers hold the same parameters as Megatron's local ones,
with which the model is built here.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from omegaconf import OmegaConf
from torch.testing._internal.distributed.fake_pg import FakeStore

from ablate.config import ModelConfig, ParallelConfig, section

CONF = Path(__file__).parents[2] / "conf"
NUM_PARAMETERS = {
    "qwen3_0_6b": 596_049_920,
    "qwen3_1_7b": 1_720_574_976,
    "qwen3_4b": 4_022_468_096,
    "qwen3_8b": 8_190_735_360,
    "qwen3_14b": 14_768_307_200,
    "deepseek_r1_distill_qwen_14b": 14_770_033_664,
}
CASES = (
    *(("qwen3_14b", "gpu8"), ("qwen3_14b", "gpu16"), ("qwen3_14b", "gpu16_cp2")),
    *(("qwen3_14b", "gpu16_pp2"), ("qwen3_14b", "gpu48")),
    ("deepseek_r1_distill_qwen_14b", "gpu16"),
)


def read_group(group: str, name: str) -> dict:
    """A file of a configuration group on top of those it is based on."""
    values = OmegaConf.load(CONF / group / f"{name}.yaml")
    below = {}
    for base in values.pop("defaults", []):
        if base != "_self_":
            below = read_group(group, base)
    return OmegaConf.merge(below, values)


def layout(name: str) -> ParallelConfig:
    return section(ParallelConfig, read_group("parallel", name), "parallel")


def model(name: str) -> ModelConfig:
    return section(ModelConfig, read_group("model", name), "model")


def parameters_by_hand(shape: dict, tensor: int, num_layers: int, is_first: bool, is_last: bool) -> int:
    """Parameters of one rank that holds ``num_layers`` layers: matrices split ``tensor`` ways, norms held by all."""
    hidden, head = shape["hidden_size"], shape["head_dim"]
    queries, keys = shape["num_heads"] * head, shape["num_kv_heads"] * head
    matrices = hidden * (queries + 2 * keys) + queries * hidden + 3 * hidden * shape["mlp_size"]
    qwen2 = shape.get("family") == "qwen2"  # biases instead of norms of a head's query and key
    layer = (matrices + qwen2 * (queries + 2 * keys)) // tensor + 2 * hidden + (not qwen2) * 2 * head
    words = shape["vocab_size"] * hidden // tensor
    projects = is_last and not (is_first and shape["tied_embeddings"])  # tied: the embedding of the same rank projects
    return num_layers * layer + is_first * words + is_last * hidden + projects * words


@pytest.mark.parametrize("name", NUM_PARAMETERS)
def test_the_published_total_is_the_sum_of_the_shape(name):
    shape = model(name).architecture
    assert parameters_by_hand(shape, 1, shape["num_layers"], True, True) == NUM_PARAMETERS[name]
    assert model(name).num_parameters == NUM_PARAMETERS[name]


@dataclasses.dataclass(frozen=True)
class Share:
    stage: int
    num_layers: int
    num_parameters: int
    num_split: int  # parameters that no other tensor rank holds
    is_meta: bool


def share_of(rank: int, parallel: ParallelConfig, shape: dict) -> Share:
    """Build rank ``rank``'s part of the model, on the meta device and with no other process."""
    from megatron.core import parallel_state

    from ablate.models.architecture import Architecture
    from ablate.trainer.model.policy import build_model

    dist.init_process_group("fake", store=FakeStore(), rank=rank, world_size=parallel.world_size)
    try:
        parallel_state.initialize_model_parallel(
            tensor_model_parallel_size=parallel.tensor,
            pipeline_model_parallel_size=parallel.pipeline,
            context_parallel_size=parallel.context,
            create_gloo_process_groups=False,
        )
        stage = parallel_state.get_pipeline_model_parallel_rank()
        local = dataclasses.replace(parallel, transformer_engine=False, attention="auto")
        with torch.device("meta"):
            built = build_model(Architecture(**shape), local, None, 40_960, torch.device("meta"))
    finally:
        parallel_state.destroy_model_parallel()
        dist.destroy_process_group()
    parameters = dict(built.named_parameters())
    return Share(
        stage=stage,
        num_layers=len({name.split(".")[2] for name in parameters if name.startswith("decoder.layers.")}),
        num_parameters=sum(parameter.numel() for parameter in parameters.values()),
        num_split=sum(p.numel() for p in parameters.values() if p.tensor_model_parallel),
        is_meta=all(parameter.is_meta for parameter in parameters.values()),
    )


def ranks_of_first_copy(parallel: ParallelConfig) -> list[int]:
    """Megatron counts tensor ranks first, then context ranks, data-parallel copies and stages."""
    near = parallel.tensor * parallel.context
    per_stage = parallel.world_size // parallel.pipeline
    return [stage * per_stage + index for stage in range(parallel.pipeline) for index in range(near)]


def shares_of_first_copies() -> dict[tuple[str, str], list[Share]]:
    """In a process of its own: process groups are global, and another test's may be open in this one."""
    return {
        (name, where): [
            share_of(rank, layout(where), model(name).architecture) for rank in ranks_of_first_copy(layout(where))
        ]
        for name, where in CASES
    }


@pytest.fixture(scope="module")
def shares() -> dict[tuple[str, str], list[Share]]:
    with ProcessPoolExecutor(max_workers=1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(shares_of_first_copies).result(timeout=600)


@pytest.mark.parametrize(("name", "where"), CASES)
def test_every_rank_holds_its_exact_number_of_parameters(shares, name, where):
    parallel, shape = layout(where), model(name).architecture
    assert {share.stage for share in shares[name, where]} == set(range(parallel.pipeline))
    for share in shares[name, where]:
        assert share.is_meta
        assert share.num_layers == shape["num_layers"] // parallel.pipeline
        is_first, is_last = share.stage == 0, share.stage == parallel.pipeline - 1
        assert share.num_parameters == parameters_by_hand(shape, parallel.tensor, share.num_layers, is_first, is_last)


@pytest.mark.parametrize(("name", "where"), CASES)
def test_the_ranks_of_one_copy_add_up_to_the_published_total(shares, name, where):
    parallel = layout(where)
    num_copies = parallel.context  # a context rank holds one too
    split = sum(share.num_split for share in shares[name, where])
    whole = sum(share.num_parameters - share.num_split for share in shares[name, where])  # held by every tensor rank
    assert split + whole / parallel.tensor == num_copies * NUM_PARAMETERS[name]
