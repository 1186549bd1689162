"""Find the model that a run starts from; build it on first use, once for all processes and jobs."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

from ablate.config import ModelConfig, ParallelConfig, RunConfig
from ablate.errors import UserError
from ablate.process.parents import ending_with_us
from ablate.warm_start.recipe import build_config, digest, make_recipe

LAUNCHER_VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def ensure_model(config: RunConfig) -> Path:
    """Return the Hugging Face directory that a run starts from, and build it first if the configuration says how.

    Every process of a job may call this function at once, and so may several jobs: one process builds and the others
    wait. A build that is killed leaves nothing that could be mistaken for a model.

    Raises:
        UserError: when neither ``model.path`` nor ``model.build`` is given, or the directory does not exist.
    """
    model = config.model
    if model.path is not None:
        path = Path(model.path).expanduser()
        if not (path / "config.json").is_file():
            raise UserError(f"model.path={model.path} holds no config.json: name a Hugging Face model directory")
        return path
    cache = Path(config.paths.cache).expanduser().absolute()
    path = cache / f"{model.name}-{digest(make_recipe(model))}"
    if not path.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        with locked(cache / f".{path.name}.lock") as lock:
            if not path.is_dir():
                build_in_child(model, config.parallel, path, lock)
    return path


@contextmanager
def locked(path: Path) -> Iterator[int]:
    """Hold an exclusive lock on ``path``; yields its descriptor.

    The system frees the lock when the last process that inherited the descriptor ends, however it ends.
    """
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file.fileno()


def build_in_child(model: ModelConfig, parallel: ParallelConfig, path: Path, lock: int) -> None:
    """Build into a directory next to ``path``, which the builder renames when it is complete.

    The build runs in a process of its own, so that neither the threads of this process nor its rank in a job can change
    a bit of the weights. It ends with this process. It inherits ``lock``, which the caller holds, so that no other
    process builds before it has ended.
    """
    scratch = path.with_name(f".{path.name}.unfinished")
    shutil.rmtree(scratch, ignore_errors=True)  # left by a build that was killed
    scratch.mkdir()
    layout = build_config(model).layout
    alone = replace(parallel.alone(), precision="fp32", **asdict(layout))
    sections = {"model": asdict(model), "parallel": asdict(alone)}
    (scratch / "build.json").write_text(json.dumps(sections, indent=1) + "\n")
    environment = {name: value for name, value in os.environ.items() if name not in LAUNCHER_VARIABLES}
    environment |= {"OMP_NUM_THREADS": str(layout.num_threads), "CUDA_VISIBLE_DEVICES": ""}
    command = ending_with_us("ablate.warm_start.build", str(scratch), str(path))
    result = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, pass_fds=(lock,), check=False)
    if result.returncode != 0:
        raise RuntimeError(f"the warm start ended with exit status {result.returncode}: its own message is above")
