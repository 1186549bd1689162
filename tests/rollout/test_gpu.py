"""What only a GPU shows of the engine: vLLM's kernels and its GPU runner, and weights that travel by NCCL.

These tests have not run yet: the machine on which they were written has no GPU.
"""

from __future__ import annotations

import pytest
import torch
from transformers import Qwen3ForCausalLM

from ablate.rollout.open import open_engine
from ablate.rollout.weights.shared import SharedHandOff

from .conftest import CONTEXT, small_engine_config
from .real_servers import TOKEN, Server
from .test_vllm import hf_tensors, largest_gap, other_weights, requests_for, sample

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, and there is none"),
]
LIMIT_NATS = 0.3  # of the largest gap to fp32: wide weights in bf16
ON_GPU = {"dtype": "bfloat16", "gpu_memory_utilization": 0.3}


@pytest.mark.usefixtures("_closing_engines")
@pytest.mark.parametrize("placement", ["inline", "child"])
def test_an_engine_samples_from_the_weights_that_it_was_given_last(tiny_checkpoint, placement):
    engine = open_engine(tiny_checkpoint, small_engine_config(placement=placement, **ON_GPU), CONTEXT, CONTEXT)
    requests = requests_for(8)
    assert (
        largest_gap(Qwen3ForCausalLM.from_pretrained(tiny_checkpoint), requests, sample(engine, requests)) < LIMIT_NATS
    )
    new = other_weights(tiny_checkpoint, seed=1)
    engine.load_weights([(name, tensor.cuda()) for name, tensor in hf_tensors(new)])
    assert largest_gap(new, requests, sample(engine, requests)) < LIMIT_NATS


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
@pytest.mark.parametrize("transfer", ["broadcast", "file"])
def test_a_server_takes_the_weights_of_another_gpu(tiny_checkpoint, tmp_path, monkeypatch, transfer):
    monkeypatch.setenv("ABLATE_SERVER_TOKEN", TOKEN)
    server = Server(tiny_checkpoint, tmp_path / "log", devices="1", changes=ON_GPU)
    server.start()
    try:
        server.wait()
        config = small_engine_config(
            placement="servers",
            urls=[server.url],
            max_num_seqs=8,
            bucket_mib=0.05,
            weight_transfer=transfer,
            weights_dir=str(tmp_path),
            **ON_GPU,
        )
        client = open_engine(tiny_checkpoint, config, CONTEXT, CONTEXT, longest=2 * CONTEXT)
        requests = requests_for(8)
        for seed in (1, 2):
            new = other_weights(tiny_checkpoint, seed)
            client.load_weights([(name, tensor.cuda()) for name, tensor in hf_tensors(new)])
            assert largest_gap(new, requests, sample(client, requests)) < LIMIT_NATS
    finally:
        server.end()


@pytest.mark.parametrize("cache", ["auto", "fp8"])
def test_a_server_on_this_gpu_frees_its_memory_asleep_and_samples_from_new_weights_awake(
    tiny_checkpoint, tmp_path, monkeypatch, cache
):
    monkeypatch.setenv("ABLATE_SERVER_TOKEN", TOKEN)
    sharing = {**ON_GPU, "share_gpus": True, "kv_cache_dtype": cache}
    server = Server(tiny_checkpoint, tmp_path / "log", devices="0", changes=sharing)
    server.start()
    try:
        server.wait()
        config = small_engine_config(placement="servers", urls=[server.url], max_num_seqs=8, **sharing)
        client = open_engine(tiny_checkpoint, config, CONTEXT, CONTEXT, longest=2 * CONTEXT)
        hand_off = SharedHandOff(50_000, lambda own: [own], rank=0)
        requests = requests_for(8)
        for seed in (1, 2):
            awake, total = torch.cuda.mem_get_info()
            client.sleep()
            asleep, _ = torch.cuda.mem_get_info()
            assert asleep - awake > 0.2 * total, "most of gpu_memory_utilization=0.3"
            new = other_weights(tiny_checkpoint, seed)
            client.load_weights(hand_off.messages((name, tensor.cuda()) for name, tensor in hf_tensors(new)))
            assert largest_gap(new, requests, sample(client, requests)) < LIMIT_NATS
    finally:
        server.end()
