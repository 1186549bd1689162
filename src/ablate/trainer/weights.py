"""Weights between Hugging Face's layout and Megatron's, whole or split over tensor and pipeline ranks.

A ``Slot`` is one Megatron parameter and the Hugging Face tensors it is made of. ``linear_qkv`` is laid out per
key/value group (its queries, then its key, then its value); ``linear_fc1`` per tensor rank is gate, then up.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from ablate.errors import UserError
from ablate.trainer.architecture import Architecture
from ablate.trainer.model import PolicyModel
from ablate.trainer.parallel import World

EMBEDDING = "embedding.word_embeddings.weight"
OUTPUT = "output_layer.weight"


@dataclass(frozen=True)
class Slot:
    """One parameter: its name in Megatron (layers counted over all stages), its tensors in Hugging Face's layout."""

    name: str
    layer: int | None  # None: embedding (first stage), final norm and output (last stage)
    kind: str  # whole | rows | columns | qkv | gated
    hf: tuple[tuple[str, tuple[int, ...]], ...]  # (name, shape)


def slots(architecture: Architecture, fused_norms: bool) -> list[Slot]:
    """All parameters of the model, in Hugging Face's order. ``fused_norms``: Transformer Engine's names for norms."""
    a = architecture
    word_shape = (a.vocab_size, a.hidden_size)
    found = [Slot(EMBEDDING, None, "rows", (("model.embed_tokens.weight", word_shape),))]
    for layer in range(a.num_layers):
        found += layer_slots(a, layer, fused_norms)
    found.append(Slot("decoder.final_layernorm.weight", None, "whole", (("model.norm.weight", (a.hidden_size,)),)))
    if not a.tied_embeddings:
        found.append(Slot(OUTPUT, None, "rows", (("lm_head.weight", word_shape),)))
    return found


def layer_slots(a: Architecture, layer: int, fused_norms: bool) -> list[Slot]:
    here, there = f"decoder.layers.{layer}", f"model.layers.{layer}"
    query, key = a.num_heads * a.head_dim, a.num_kv_heads * a.head_dim
    attention, mlp = f"{here}.self_attention", f"{here}.mlp"
    input_norm = f"{attention}.linear_qkv.layer_norm_weight" if fused_norms else f"{here}.input_layernorm.weight"
    mlp_norm = f"{mlp}.linear_fc1.layer_norm_weight" if fused_norms else f"{here}.pre_mlp_layernorm.weight"
    qkv = tuple(
        (f"{there}.self_attn.{part}_proj.weight", (rows, a.hidden_size))
        for part, rows in (("q", query), ("k", key), ("v", key))
    )
    gated = tuple((f"{there}.mlp.{part}_proj.weight", (a.mlp_size, a.hidden_size)) for part in ("gate", "up"))

    def one(name: str, kind: str, hf_name: str, *shape: int) -> Slot:
        return Slot(name, layer, kind, ((f"{there}.{hf_name}.weight", shape),))

    return [
        one(input_norm, "whole", "input_layernorm", a.hidden_size),
        Slot(f"{attention}.linear_qkv.weight", layer, "qkv", qkv),
        one(f"{attention}.q_layernorm.weight", "whole", "self_attn.q_norm", a.head_dim),
        one(f"{attention}.k_layernorm.weight", "whole", "self_attn.k_norm", a.head_dim),
        one(f"{attention}.linear_proj.weight", "columns", "self_attn.o_proj", a.hidden_size, query),
        one(mlp_norm, "whole", "post_attention_layernorm", a.hidden_size),
        Slot(f"{mlp}.linear_fc1.weight", layer, "gated", gated),
        one(f"{mlp}.linear_fc2.weight", "columns", "mlp.down_proj", a.hidden_size, a.mlp_size),
    ]


def split(kind: str, tensors: list[Tensor], num_groups: int, rank: int, size: int) -> Tensor:
    """The share of tensor rank ``rank`` of ``size``, in Megatron's layout. ``num_groups``: key/value groups."""
    if kind == "whole":
        return tensors[0]
    if kind == "columns":
        return tensors[0].chunk(size, dim=1)[rank]
    if kind == "gated":
        return torch.cat([tensor.chunk(size)[rank] for tensor in tensors])
    if kind == "qkv":
        by_group = [tensor.view(num_groups, -1, tensor.shape[1]).chunk(size)[rank] for tensor in tensors]
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
        by_group = torch.cat(shares).view(num_groups, -1, shapes[0][1])
        parts = by_group.split([shape[0] // num_groups for shape in shapes], dim=1)
        return [part.flatten(0, 1) for part in parts]
    return [torch.cat(shares)]


def load_weights(model: PolicyModel, model_dir: Path, architecture: Architecture, world: World) -> None:
    """Copy this rank's share of a Hugging Face checkpoint into ``model``, in place.

    Raises:
        UserError: when a tensor is missing or has another shape than config.json says.
    """
    parameters = dict(model.named_parameters())
    local_names = names_here(parameters, architecture, world)
    with Checkpoint(model_dir) as checkpoint, torch.no_grad():
        for slot in slots(architecture, has_fused_norms(model)):
            for name in targets(slot, local_names, architecture):
                tensors = [checkpoint.read(hf_name, shape) for hf_name, shape in slot.hf]
                share = split(slot.kind, tensors, architecture.num_kv_heads, world.tensor_rank, world.tensor_size)
                parameters.pop(name).copy_(share)
    if parameters:
        raise RuntimeError(f"these parameters have no Hugging Face tensor: {sorted(parameters)}")


def targets(slot: Slot, local_names: dict[str, str], architecture: Architecture) -> list[str]:
    """This stage's parameters that hold ``slot``: with tied embeddings the last stage keeps a copy of its own."""
    names = [slot.name, OUTPUT] if slot.name == EMBEDDING and architecture.tied_embeddings else [slot.name]
    return [local_names[name] for name in names if name in local_names]


def names_here(parameters: dict[str, Tensor], architecture: Architecture, world: World) -> dict[str, str]:
    """Name counted over all stages -> name in this stage, whose layers are counted from 0."""
    first_layer = world.pipeline_rank * (architecture.num_layers // world.pipeline_size)
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

    All ranks must iterate to the end: each tensor is gathered over the tensor group of the stage that owns it and
    broadcast to the other stages. On one rank, tensors that need no regrouping share memory with the model.
    """
    parameters = dict(model.named_parameters())
    local_names = names_here(parameters, architecture, world)
    for slot in slots(architecture, has_fused_norms(model)):
        owner = owner_stage(slot, architecture, world)
        parameter = parameters[local_names[slot.name]].detach() if owner == world.pipeline_rank else None
        shapes = [shape for _, shape in slot.hf]
        tensors = None
        if parameter is not None:
            tensors = join(slot.kind, gather(parameter, world), shapes, architecture.num_kv_heads)
        for index, (name, shape) in enumerate(slot.hf):
            yield name, from_stage(owner, None if tensors is None else tensors[index], shape, model, world)


def owner_stage(slot: Slot, architecture: Architecture, world: World) -> int:
    if slot.layer is not None:
        return slot.layer // (architecture.num_layers // world.pipeline_size)
    return 0 if slot.name == EMBEDDING else world.pipeline_size - 1


def gather(share: Tensor, world: World) -> list[Tensor]:
    if world.tensor_size == 1:
        return [share]
    shares = [torch.empty_like(share) for _ in range(world.tensor_size)]
    dist.all_gather(shares, share.contiguous(), group=world.tensor_group)
    return shares


def from_stage(stage: int, tensor: Tensor | None, shape: tuple[int, ...], model: PolicyModel, world: World) -> Tensor:
    if world.pipeline_size == 1:
        assert tensor is not None
        return tensor
    if tensor is None:
        tensor = torch.empty(shape, dtype=model.config.params_dtype, device=world.device)
    tensor = tensor.contiguous()
    dist.broadcast(tensor, src=dist.get_global_rank(world.pipeline_group, stage), group=world.pipeline_group)
    return tensor


class Checkpoint:
    """The safetensors files of a Hugging Face directory, read one tensor at a time."""

    def __init__(self, model_dir: Path) -> None:
        self.model_dir = Path(model_dir)
        self.file_of = weight_files(self.model_dir)
        self.files: dict[str, safe_open] = {}

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(self, *exception: object) -> None:
        self.files.clear()

    def read(self, name: str, shape: tuple[int, ...]) -> Tensor:
        if name not in self.file_of:
            raise UserError(f"{self.model_dir} has no tensor {name}: the checkpoint does not match its config.json")
        file = self.file_of[name]
        if file not in self.files:
            self.files[file] = safe_open(self.model_dir / file, framework="pt")
        tensor = self.files[file].get_tensor(name)
        if tuple(tensor.shape) != shape:
            raise UserError(
                f"{self.model_dir / file}: {name} has shape {tuple(tensor.shape)}, config.json says {shape}: "
                "take both from the same checkpoint"
            )
        return tensor


def weight_files(model_dir: Path) -> dict[str, str]:
    """Tensor name -> file name."""
    index = model_dir / "model.safetensors.index.json"
    if index.is_file():
        return json.loads(index.read_text())["weight_map"]
    if not (model_dir / "model.safetensors").is_file():
        raise UserError(f"{model_dir} holds no model.safetensors: convert the checkpoint to safetensors")
    with safe_open(model_dir / "model.safetensors", framework="pt") as file:
        return dict.fromkeys(file.keys(), "model.safetensors")


def write_weight_files(tensors: Iterable[tuple[str, Tensor]], directory: Path, max_bytes: int) -> None:
    """Write safetensors as Hugging Face's loaders expect them: one file, or numbered ones with an index.

    Args:
        max_bytes: of one file, unless a single tensor is larger; a file's tensors are in memory at once.
    """
    files: list[list[str]] = []
    waiting: dict[str, Tensor] = {}
    total_bytes = waiting_bytes = 0
    for name, tensor in tensors:
        if waiting and waiting_bytes + tensor.nbytes > max_bytes:
            files.append(write_part(directory, len(files), waiting))
            waiting, waiting_bytes = {}, 0
        waiting[name] = tensor.detach().cpu().contiguous()
        waiting_bytes += tensor.nbytes
        total_bytes += tensor.nbytes
    files.append(write_part(directory, len(files), waiting))
    if len(files) == 1:
        part_path(directory, 0).rename(directory / "model.safetensors")
        return
    weight_map = {}
    for index, names in enumerate(files):
        file_name = f"model-{index + 1:05d}-of-{len(files):05d}.safetensors"
        part_path(directory, index).rename(directory / file_name)
        weight_map |= dict.fromkeys(names, file_name)
    index_json = {"metadata": {"total_size": total_bytes}, "weight_map": weight_map}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index_json, indent=2) + "\n")


def write_part(directory: Path, index: int, tensors: dict[str, Tensor]) -> list[str]:
    save_file(tensors, part_path(directory, index), metadata={"format": "pt"})
    return list(tensors)


def part_path(directory: Path, index: int) -> Path:
    """How many files there will be, which their final names say, is known at the end."""
    return directory / f"part_{index}.safetensors"
