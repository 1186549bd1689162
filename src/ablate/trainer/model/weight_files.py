"""The safetensors files of a Hugging Face directory: read one tensor at a time, written in parts with an index."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from ablate.errors import UserError


class WeightReader:
    """Reads the tensors of a Hugging Face directory one at a time; a context manager."""

    def __init__(self, model_dir: Path) -> None:
        self.model_dir = Path(model_dir)
        self.file_of = weight_files(self.model_dir)
        self.files: dict[str, safe_open] = {}

    def __enter__(self) -> WeightReader:
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
                f"{self.model_dir / file}: {name} has shape {tuple(tensor.shape)}, but config.json says {shape}: "
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
    """A temporary name: the final names contain the number of files, which is known only at the end."""
    return directory / f"part_{index}.safetensors"
