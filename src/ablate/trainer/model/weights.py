"""Weights between Hugging Face's layout and Megatron's, whole or split over tensor and pipeline ranks.

A ``MegatronWeight`` is one Megatron parameter and the Hugging Face tensors that it consists of; the table of a layer's
weights is ``ablate.models.families``. ``linear_qkv`` (weight and bias) is laid out per key/value group: its
queries, then its key, then its value. ``linear_fc1`` per tensor rank is gate, then up.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from ablate.models.architecture import Architecture
from ablate.models.families import layer_table
from ablate.trainer.model.policy import PolicyModel
from ablate.trainer.model.weight_files import WeightReader
from ablate.trainer.parallel.world import World

EMBEDDING = "embedding.word_embeddings.weight"
OUTPUT = "output_layer.weight"


@dataclass(frozen=True)
class MegatronWeight:
    """One parameter: its name in Megatron (layers counted over all stages), its tensors in Hugging Face's layout."""

    name: str
    layer: int | None  # None: embedding (first stage), final norm and output (last stage)
    kind: str  # whole | rows | columns | qkv | gated
    hf: tuple[tuple[str, tuple[int, ...]], ...]  # (name, shape)


def megatron_weights(architecture: Architecture, fused_norms: bool) -> list[MegatronWeight]:
    """All parameters of the model, in Hugging Face's order. ``fused_norms``: Transformer Engine's names for norms."""
    a = architecture
    word_shape = (a.vocab_size, a.hidden_size)
    found = [MegatronWeight(EMBEDDING, None, "rows", (("model.embed_tokens.weight", word_shape),))]
    for layer in range(a.num_layers):
        found += layer_weights(a, layer, fused_norms)
    found.append(
        MegatronWeight("decoder.final_layernorm.weight", None, "whole", (("model.norm.weight", (a.hidden_size,)),))
    )
    if not a.tied_embeddings:
        found.append(MegatronWeight(OUTPUT, None, "rows", (("lm_head.weight", word_shape),)))
    return found


def layer_weights(a: Architecture, layer: int, fused_norms: bool) -> list[MegatronWeight]:
    sizes = {
        "hidden": a.hidden_size,
        "mlp": a.mlp_size,
        "head": a.head_dim,
        "query": a.num_heads * a.head_dim,
        "key": a.num_kv_heads * a.head_dim,
    }
    found = []
    for row in layer_table(a.family):
        name = row.fused if fused_norms and row.fused else row.megatron
        hf = tuple(
            (f"model.layers.{layer}.{hf_name}", tuple(sizes[dimension] for dimension in dimensions))
            for hf_name, *dimensions in row.hf
        )
        found.append(MegatronWeight(f"decoder.layers.{layer}.{name}", layer, row.kind, hf))
    return found


def split(kind: str, tensors: list[Tensor], num_groups: int, rank: int, size: int) -> Tensor:
    """The share of tensor rank ``rank`` of ``size``, in Megatron's layout. ``num_groups``: key/value groups."""
    if kind == "whole":
        return tensors[0]
    if kind == "columns":
        return tensors[0].chunk(size, dim=1)[rank]
    if kind == "gated":
        return torch.cat([tensor.chunk(size)[rank] for tensor in tensors])
    if kind == "qkv":
        by_group = [tensor.view(num_groups, -1, *tensor.shape[1:]).chunk(size)[rank] for tensor in tensors]
        return torch.cat(by_group, dim=1).flatten(0, 1)
    return tensors[0].chunk(size)[rank]


def join(kind: str, shares: list[Tensor], shapes: list[tuple[int, ...]], num_groups: int) -> list[Tensor]:
    """Undo ``split`` given the shares of all tensor ranks in order."""
    if kind == "whole":
        return [shares[0]]
    if kind == "columns":
        return [torch.cat(shares, dim=1)]
    if kind == "gated":
        return [torch.cat(halves) for halves in zip(*(share.chunk(2) for share in shares), strict=True)]
    if kind == "qkv":
        by_group = torch.cat(shares).view(num_groups, -1, *shapes[0][1:])
        parts = by_group.split([shape[0] // num_groups for shape in shapes], dim=1)
        return [part.flatten(0, 1) for part in parts]
    return [torch.cat(shares)]


def load_weights(model: PolicyModel, model_dir: Path, architecture: Architecture, world: World) -> None:
    """Copy this rank's share of a Hugging Face checkpoint into ``model``, in place.

    Raises:
        UserError: when a tensor is missing or its shape is not the one in config.json.
    """
    parameters = dict(model.named_parameters())
    local_names = names_here(parameters, architecture, world)
    rank, size = world.tensor_group.rank(), world.tensor_group.size()
    with WeightReader(model_dir) as reader, torch.no_grad():
        for weight in megatron_weights(architecture, has_fused_norms(model)):
            for name in targets(weight, local_names, architecture):
                tensors = [reader.read(hf_name, shape) for hf_name, shape in weight.hf]
                share = split(weight.kind, tensors, architecture.num_kv_heads, rank, size)
                parameters.pop(name).copy_(share)
    if parameters:
        raise RuntimeError(f"these parameters have no Hugging Face tensor: {sorted(parameters)}")


def targets(weight: MegatronWeight, local_names: dict[str, str], architecture: Architecture) -> list[str]:
    """Names of the parameters of this stage that hold ``weight``; with tied embeddings the last stage has a copy."""
    names = [weight.name, OUTPUT] if weight.name == EMBEDDING and architecture.tied_embeddings else [weight.name]
    return [local_names[name] for name in names if name in local_names]


def names_here(parameters: dict[str, Tensor], architecture: Architecture, world: World) -> dict[str, str]:
    """Map the name with layers counted over all stages to the name in this stage, where layers count from 0."""
    first_layer = world.pipeline_group.rank() * (architecture.num_layers // world.pipeline_group.size())
    found = {}
    for name in parameters:
        parts = name.split(".")
        if parts[:2] == ["decoder", "layers"]:
            parts[2] = str(int(parts[2]) + first_layer)
        found[".".join(parts)] = name
    return found


def has_fused_norms(model: PolicyModel) -> bool:
    return any(name.endswith("linear_qkv.layer_norm_weight") for name, _ in model.named_parameters())


def hf_tensors(model: PolicyModel, architecture: Architecture, world: World) -> Iterator[tuple[str, Tensor]]:
    """Yield (Hugging Face name, whole tensor) for every weight, one at a time, on every rank.

    All ranks must iterate to the end (``Trainer.gather_weights`` sees to it): each tensor is gathered over the tensor
    group of the stage that owns it and broadcast to the other stages. In a job of one rank, tensors that need no
    regrouping share memory with the model.
    """
    parameters = dict(model.named_parameters())
    local_names = names_here(parameters, architecture, world)
    for weight in megatron_weights(architecture, has_fused_norms(model)):
        owner = owner_stage(weight, architecture, world)
        parameter = parameters[local_names[weight.name]].detach() if owner == world.pipeline_group.rank() else None
        shapes = [shape for _, shape in weight.hf]
        tensors = None
        if parameter is not None:
            tensors = join(weight.kind, gather(parameter, world), shapes, architecture.num_kv_heads)
        for index, (name, shape) in enumerate(weight.hf):
            yield name, from_stage(owner, None if tensors is None else tensors[index], shape, model, world)


def owner_stage(weight: MegatronWeight, architecture: Architecture, world: World) -> int:
    if weight.layer is not None:
        return weight.layer // (architecture.num_layers // world.pipeline_group.size())
    return 0 if weight.name == EMBEDDING else world.pipeline_group.size() - 1


def gather(share: Tensor, world: World) -> list[Tensor]:
    if world.tensor_group.size() == 1:
        return [share]
    shares = [torch.empty_like(share) for _ in range(world.tensor_group.size())]
    dist.all_gather(shares, share.contiguous(), group=world.tensor_group)
    return shares


def from_stage(stage: int, tensor: Tensor | None, shape: tuple[int, ...], model: PolicyModel, world: World) -> Tensor:
    if world.pipeline_group.size() == 1:
        assert tensor is not None
        return tensor
    if tensor is None:
        tensor = torch.empty(shape, dtype=model.config.params_dtype, device=world.device)
    tensor = tensor.contiguous()
    dist.broadcast(tensor, src=dist.get_global_rank(world.pipeline_group, stage), group=world.pipeline_group)
    return tensor
