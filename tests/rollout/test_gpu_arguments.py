"""What servers on GPUs are started with, read by vLLM's own parser: on a CPU they cannot be started."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ablate.cli import compose
from ablate.config import RunConfig, parse
from ablate.rollout.vllm.settings import engine_arguments
from ablate.serve.lines import hf_config, servers_of

ON_SERVERS = (
    ("experiment=nouscoder_14b",),
    ("experiment=deepcoder_14b",),
    ("experiment=nouscoder_14b", "model=qwen3_8b", "parallel=gpu4", "setting=apart"),
)


def written_model(config: RunConfig, directory: Path) -> Path:
    """A config.json of the model's published shape, without weights."""
    shape = config.model.architecture
    family = shape.get("family", "qwen3")
    values = {
        "architectures": [{"qwen3": "Qwen3ForCausalLM", "qwen2": "Qwen2ForCausalLM"}[family]],
        "model_type": family,
        "vocab_size": shape["vocab_size"],
        "hidden_size": shape["hidden_size"],
        "num_hidden_layers": shape["num_layers"],
        "num_attention_heads": shape["num_heads"],
        "num_key_value_heads": shape["num_kv_heads"],
        "head_dim": shape["head_dim"],
        "intermediate_size": shape["mlp_size"],
        "max_position_embeddings": config.model.original_context,
        "torch_dtype": "bfloat16",
    }
    (directory / "config.json").write_text(json.dumps(values))
    return directory


@pytest.mark.parametrize("words", ON_SERVERS, ids="-".join)
def test_vllm_reads_every_argument_and_accepts_the_model_with_them(words, tmp_path, monkeypatch):
    from vllm.config.model import current_platform
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    config = parse(compose([*words, f"model.path={tmp_path}"]))
    written_model(config, tmp_path)
    (server, *_) = servers_of(config, num_nodes=1, gpus_per_node=8)
    parsed = make_arg_parser(FlexibleArgumentParser()).parse_args(list(server.words[2:]))
    validate_parsed_serve_args(parsed)
    found = AsyncEngineArgs.from_cli_args(parsed)
    monkeypatch.setattr(type(current_platform), "is_sleep_mode_available", lambda _: True)  # it is on a GPU
    expected = engine_arguments(config.rollout.engine, config.longest_context, hf_config(config), on_cpu=False)
    assert {name: getattr(found, name) for name in expected} == expected
    model_config = found.create_model_config()
    assert model_config.max_model_len == config.longest_context
    assert str(model_config.dtype) == "torch.bfloat16"
    assert str(model_config.head_dtype) == "torch.float32"
