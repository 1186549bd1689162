"""What vLLM is started with."""

from dataclasses import replace

import pytest

from ablate.cli import compose
from ablate.config import parse
from ablate.rollout.vllm.settings import engine_arguments, server_command

HF_CONFIG = {"max_position_embeddings": 64}


@pytest.mark.parametrize(
    ("dtype", "head_dtype", "longest", "overrides"),
    [
        ("bfloat16", "float32", 64, {"head_dtype": "float32"}),
        ("bfloat16", "float32", 65, {"head_dtype": "float32", "max_position_embeddings": 65}),
        ("bfloat16", "model", 64, None),
        ("float32", "float32", 64, None),
    ],
)
def test_the_head_of_an_engine_of_few_bits_is_float32_unless_it_is_as_the_model(dtype, head_dtype, longest, overrides):
    engine = replace(parse(compose([])).rollout.engine, dtype=dtype, head_dtype=head_dtype)
    arguments = engine_arguments(engine, longest, HF_CONFIG, on_cpu=True)
    assert arguments.get("hf_overrides") == overrides
    words = server_command("model", arguments)
    assert ("--hf-overrides" in words) == (overrides is not None)


def test_a_server_that_shares_its_gpu_can_sleep_and_on_a_cpu_vllm_has_nothing_to_free():
    engine = replace(parse(compose([])).rollout.engine, share_gpus=True, kv_cache_dtype="fp8")
    assert "enable_sleep_mode" not in engine_arguments(engine, 64, HF_CONFIG, on_cpu=True)
    words = server_command("model", engine_arguments(engine, 64, HF_CONFIG, on_cpu=False))
    assert "--enable-sleep-mode" in words
    assert words[words.index("--kv-cache-dtype") + 1] == "fp8"


@pytest.mark.parametrize("experiment", ["nouscoder_14b", "deepcoder_14b"])
def test_a_run_in_bf16_has_full_precision_logits_on_both_sides(experiment):
    config = parse(compose([f"experiment={experiment}"]))
    assert (config.parallel.precision, config.rollout.engine.dtype) == ("bf16", "bfloat16")
    assert config.rollout.engine.head_dtype == "float32"
