"""Megatron-Core's GPTModel in the shape of a Hugging Face checkpoint, on this process's share of the layout.

Shape suffixes: B rows, S tokens of a row, D hidden size, V words of this rank's shard.
"""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor

from ablate.config import ParallelConfig
from ablate.models.architecture import Architecture, Yarn
from ablate.models.families import FAMILIES
from ablate.trainer import cpu
from ablate.trainer.parallel.layout import check_layout

cpu.import_megatron()

from megatron.core.models.gpt import GPTModel  # noqa: E402
from megatron.core.models.gpt.gpt_layer_specs import get_gpt_layer_with_transformer_engine_spec  # noqa: E402
from megatron.core.tensor_parallel import gather_from_sequence_parallel_region  # noqa: E402
from megatron.core.tensor_parallel.layers import (  # noqa: E402
    ColumnParallelLinear,
    RowParallelLinear,
    VocabParallelEmbedding,
    set_defaults_if_not_set_tensor_model_parallel_attributes,
    set_tensor_model_parallel_attributes,
)
from megatron.core.transformer.enums import AttnBackend  # noqa: E402
from megatron.core.transformer.transformer_config import TransformerConfig  # noqa: E402

from ablate.trainer.model.layers import local_spec  # noqa: E402
from ablate.trainer.model.user_fields import built  # noqa: E402

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
# Megatron tells Transformer Engine the attention kernel in these. It refuses a model that asks for another kernel than
# the model before it in this process, which may be a warm start's. ``parallel.attention`` decides.
ATTENTION_VARIABLES = ("NVTE_FLASH_ATTN", "NVTE_FUSED_ATTN", "NVTE_UNFUSED_ATTN")


class PolicyModel(GPTModel):
    """GPTModel whose last stage returns hidden states [S, B, D]: the vocabulary is projected with the log-probability.

    A whole row of logits at 151,936 words is never stored (see ``ablate.trainer.model.logprobs``).
    """

    def _postprocess(self, hidden_states: Tensor, **unused: Any) -> Tensor:
        if not self.post_process:
            return hidden_states
        if self.config.sequence_parallel:
            # The gradient that logprobs returns is already the sum over the tensor group.
            return gather_from_sequence_parallel_region(hidden_states, tensor_parallel_output_grad=False)
        return hidden_states

    @property
    def output_weight_VD(self) -> Tensor:
        """This rank's rows of the output projection (last stage only)."""
        if self.share_embeddings_and_output_weights:
            return self.shared_embedding_or_output_weight()
        return self.output_layer.weight


def transformer_config(architecture: Architecture, parallel: ParallelConfig, yarn: Yarn | None) -> TransformerConfig:
    """Megatron's configuration of the model. Fusions belong to Transformer Engine; there is no dropout."""
    dtype, fused, family = DTYPES[parallel.precision], parallel.transformer_engine, FAMILIES[architecture.family]
    own = dict(
        num_layers=architecture.num_layers,
        hidden_size=architecture.hidden_size,
        num_attention_heads=architecture.num_heads,
        num_query_groups=architecture.num_kv_heads,
        kv_channels=architecture.head_dim,
        ffn_hidden_size=architecture.mlp_size,
        normalization="RMSNorm",
        layernorm_epsilon=architecture.norm_eps,
        qk_layernorm=family.qk_norm,
        add_qkv_bias=family.qkv_bias,
        gated_linear_unit=True,
        activation_func=torch.nn.functional.silu,
        add_bias_linear=False,
        hidden_dropout=0.0,
        attention_dropout=0.0,
        tensor_model_parallel_size=parallel.tensor,
        pipeline_model_parallel_size=parallel.pipeline,
        context_parallel_size=parallel.context,
        attention_backend=AttnBackend[parallel.attention],
        sequence_parallel=parallel.sequence_parallel,
        params_dtype=dtype,
        pipeline_dtype=dtype,
        bf16=parallel.precision == "bf16",
        calculate_per_token_loss=True,  # the weights of a batch sum to 1 by themselves: nothing downstream divides
        variable_seq_lengths=parallel.pipeline > 1,
        moe_token_dispatcher_type="alltoall",  # variable_seq_lengths demands it, dense models included
        use_cpu_initialization=True,
        perform_initialization=False,  # weights always come from a checkpoint
        batch_p2p_comm=False,
        cuda_graph_scope=[],  # the default is deprecated and warns
        bias_activation_fusion=fused,
        bias_dropout_fusion=False,  # no bias, no dropout: it would only compile a sum, again for every length
        masked_softmax_fusion=fused,
        apply_rope_fusion=fused and yarn is None,  # the fused kernel knows no YaRN temperature
        gradient_accumulation_fusion=False,  # needs Apex or Transformer Engine's own linear layers
        persist_layer_norm=fused,
        **recomputation(parallel),
        **eight_bits(parallel),
    )
    config = built(TransformerConfig, own, parallel.megatron)
    if yarn is not None:
        config.yarn_rotary_scaling_factor = yarn.factor
        config.yarn_original_max_position_embeddings = yarn.original_context
        config.yarn_beta_fast, config.yarn_beta_slow = yarn.beta_fast, yarn.beta_slow
        config.yarn_mscale = config.yarn_mscale_all_dim = None  # temperature 0.1 ln(factor) + 1
        config.yarn_correction_range_round_to_int = True
    return config


def recomputation(parallel: ParallelConfig) -> dict[str, Any]:
    if parallel.recompute == "core_attn":
        return {"recompute_granularity": "selective", "recompute_modules": ["core_attn"]}
    if parallel.recompute == "full" and parallel.recompute_layers is not None:
        return {
            "recompute_granularity": "full",
            "recompute_method": "block",
            "recompute_num_layers": parallel.recompute_layers,
        }
    if parallel.recompute == "full":
        return {"recompute_granularity": "full", "recompute_method": "uniform", "recompute_num_layers": 1}
    return {}


def eight_bits(parallel: ParallelConfig) -> dict[str, Any]:
    """FP8 for the layers' products; the output projection (``ablate.trainer.model.logprobs``) keeps its precision.

    Only recipes that scale by the present values are offered. Delayed scaling uses the values of earlier passes: a
    log-probability would then depend on what was computed before it, and on whether the run was resumed in between.
    """
    return {} if parallel.fp8 == "none" else {"fp8": parallel.fp8, "fp8_recipe": parallel.fp8_recipe}


def build_model(
    architecture: Architecture, parallel: ParallelConfig, yarn: Yarn | None, max_length: int, device: torch.device
) -> PolicyModel:
    """Build this rank's share of the model, its weights not yet loaded.

    Args:
        max_length: tokens of the longest row; Megatron keeps it for export only.

    Raises:
        UserError: when the model is not divisible by the layout, or the layout needs a package that is missing.
    """
    from megatron.core import parallel_state

    check_layout(architecture, parallel)
    config = transformer_config(architecture, parallel, yarn)
    for name in ATTENTION_VARIABLES:
        os.environ.pop(name, None)
    with cpu.answering_for_cuda():
        model = PolicyModel(
            config=config,
            transformer_layer_spec=layer_spec(config, parallel),
            vocab_size=architecture.vocab_size,
            max_sequence_length=max_length,
            pre_process=parallel_state.is_pipeline_first_stage(),
            post_process=parallel_state.is_pipeline_last_stage(),
            share_embeddings_and_output_weights=architecture.tied_embeddings,
            position_embedding_type="rope" if yarn is None else "yarn",
            rotary_base=architecture.rope_theta,
        ).to(device)
    mark_split_parameters(model)
    return model


def mark_split_parameters(model: PolicyModel) -> None:
    """Mark the weights that are split over the tensor group: a gradient norm sums their shares and counts others once.

    Megatron marks them while it initialises them, which ``perform_initialization=False`` skips.
    """
    for module in model.modules():
        if isinstance(module, (ColumnParallelLinear, VocabParallelEmbedding, RowParallelLinear)):
            split_dimension = 1 if isinstance(module, RowParallelLinear) else 0
            if module.weight is not None:
                set_tensor_model_parallel_attributes(module.weight, True, split_dimension, 1)
    for parameter in model.parameters():
        set_defaults_if_not_set_tensor_model_parallel_attributes(parameter)


def layer_spec(config: TransformerConfig, parallel: ParallelConfig) -> Any:
    if parallel.transformer_engine:
        return get_gpt_layer_with_transformer_engine_spec(qk_layernorm=config.qk_layernorm)
    return local_spec(config, config.num_layers // config.pipeline_model_parallel_size)
