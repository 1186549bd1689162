"""A user's own arguments reach vLLM as vLLM reads them, and none of them replaces what a run depends on."""

from __future__ import annotations

import pytest

from ablate.errors import UserError
from ablate.models.hf_config import read_hf_config
from ablate.rollout.vllm.settings import engine_arguments, server_command
from ablate.rollout.vllm.user_arguments import SET_BY, check_not_set, checked_arguments

from .conftest import CONTEXT, small_engine_config


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        ({"block_sise": 16}, r"rollout\.engine\.args\.block_sise is no argument .* did you mean block_size\?"),
        ({"block_size": "many"}, r"vLLM says: argument --block-size: invalid int value: 'many'"),
        ({"scheduling_policy": "lifo"}, r"vLLM says: argument --scheduling-policy: invalid choice: 'lifo'"),
        ({"dtype": "half"}, r"rollout\.engine\.args\.dtype is set .*: change rollout\.engine\.dtype instead"),
        ({"logprobs_mode": "raw_logits"}, r"logprobs_mode is set by the project: leave it out"),
    ],
)
def test_what_vllm_or_the_project_refuses_is_one_sentence(args, sentence):
    with pytest.raises(UserError, match=sentence):
        checked_arguments(small_engine_config(args=args))


def test_a_value_is_what_vllms_parser_makes_of_it():
    args = {"block_size": "16", "async_scheduling": False, "scheduling_policy": "priority"}
    config = small_engine_config(args=args)
    assert checked_arguments(config) == args | {"block_size": 16}
    words = server_command("DIR", args)
    assert words[words.index("--block-size") + 1] == "16"
    assert "--no-async-scheduling" in words


def test_nothing_that_the_project_sets_can_be_given(tiny_checkpoint):
    config = small_engine_config(args={"max_num_batched_tokens": 4})
    hf_config = read_hf_config(tiny_checkpoint)
    on_cpu, on_gpu = (engine_arguments(config, 2 * CONTEXT, hf_config, on_cpu=on_cpu) for on_cpu in (True, False))
    assert on_gpu.keys() <= SET_BY.keys()
    check_not_set(on_gpu, config)
    with pytest.raises(UserError, match="max_num_batched_tokens is set by the project on this machine"):
        check_not_set(on_cpu, config)
