"""A user's own fields reach Megatron's configurations, and none of them replaces what the trainer sets."""

from __future__ import annotations

from dataclasses import replace

import cases
import pytest

from ablate.errors import UserError
from ablate.models.architecture import read_architecture
from ablate.trainer.model.policy import transformer_config
from ablate.trainer.optimizer import optimizer_config


def configs(model_dir, **fields):
    parallel = replace(cases.SINGLE, megatron=fields)
    return (
        transformer_config(read_architecture(model_dir), parallel, None),
        optimizer_config(parallel, cases.OPTIM),
    )


def test_a_field_goes_to_the_configuration_that_has_it(tiny_checkpoint):
    model, optimizer = configs(tiny_checkpoint, softmax_scale=0.25, decoupled_lr=1e-3)
    assert model.softmax_scale == 0.25
    assert optimizer.decoupled_lr == 1e-3


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"hidden_sise": 3}, r"parallel\.megatron\.hidden_sise is no field of Megatron's: did you mean hidden_size\?"),
        ({"hidden_size": 3}, r"parallel\.megatron\.hidden_size is set by the project"),
        ({"num_moe_experts": 4}, r"parallel\.megatron\.num_moe_experts is set by the project"),
        ({"adam_eps": 1e-6}, r"parallel\.megatron\.adam_eps is set by the project"),
        ({"deterministic_mode": 3}, r"deterministic_mode=3 must be like Megatron's default False"),
        ({"num_layers_in_first_pipeline_stage": 3}, r"Megatron says: Mismatch: .*: fix the value"),
    ],
)
def test_what_megatron_or_the_project_refuses_is_one_sentence(tiny_checkpoint, fields, sentence):
    with pytest.raises(UserError, match=sentence):
        configs(tiny_checkpoint, **fields)
