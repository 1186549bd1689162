"""Which checkpoints can be trained, and that every other is refused before anything loads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from ablate import sweep
from ablate.errors import UserError
from ablate.models.architecture import pinned_architecture, read_architecture

CONF = Path(__file__).parents[2] / "conf"
# config.json of deepseek-ai/DeepSeek-R1-Distill-Qwen-14B, as transformers 4 wrote it
DEEPSEEK = {
    "architectures": ["Qwen2ForCausalLM"],
    "attention_dropout": 0.0,
    "bos_token_id": 151643,
    "eos_token_id": 151643,
    "hidden_act": "silu",
    "hidden_size": 5120,
    "initializer_range": 0.02,
    "intermediate_size": 13824,
    "max_position_embeddings": 131072,
    "max_window_layers": 48,
    "model_type": "qwen2",
    "num_attention_heads": 40,
    "num_hidden_layers": 48,
    "num_key_value_heads": 8,
    "rms_norm_eps": 1e-05,
    "rope_theta": 1000000.0,
    "sliding_window": 131072,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "use_cache": True,
    "use_sliding_window": False,
    "vocab_size": 152064,
}
MODEL = "model=deepseek_r1_distill_qwen_14b"


def written(directory: Path, values: dict[str, Any]) -> Path:
    (directory / "config.json").write_text(json.dumps(values))
    return directory


def test_deepseek_r1_distill_qwen_14b_is_what_its_file_of_conf_model_pins(tmp_path):
    pinned = OmegaConf.to_container(OmegaConf.load(CONF / "model" / "deepseek_r1_distill_qwen_14b.yaml").architecture)
    assert read_architecture(written(tmp_path, DEEPSEEK)) == pinned_architecture(pinned)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model_type": "llama"}, r"model_type='llama' .* choose one of qwen2 \(Qwen2, .*\), qwen3 \(Qwen3\)"),
        ({"model_type": None}, "model_type=None"),
        ({"use_sliding_window": True}, "use_sliding_window=True is not supported"),
        ({"hidden_act": "gelu"}, "hidden_act='gelu' is not supported: choose a checkpoint where it is 'silu'"),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, "rope_type='llama3'"),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, "rope_type='linear'"),
        ({"num_hidden_layers": 40}, r"says num_layers=40, but model\.architecture\.num_layers=48"),
        ({"model_type": "qwen3"}, "says family=qwen3, but model.architecture.family=qwen2"),
    ],
)
def test_another_model_is_refused_when_the_run_is_planned(tmp_path, changes, said):
    model_dir = written(tmp_path, DEEPSEEK | changes)
    with pytest.raises(UserError, match=said):
        sweep.planned_runs([MODEL, f"model.path={model_dir}", "seed=0"])


def test_a_value_that_config_json_lacks_is_named(tmp_path):
    model_dir = written(tmp_path, {key: value for key, value in DEEPSEEK.items() if key != "rms_norm_eps"})
    with pytest.raises(UserError, match="has no rms_norm_eps"):
        read_architecture(model_dir)


def test_an_unknown_family_in_the_configuration_is_refused():
    with pytest.raises(UserError, match=r"model\.architecture\.family='qwen4' .* choose one of qwen2"):
        sweep.planned_runs([MODEL, "model.architecture.family=qwen4", "seed=0"])
