"""Shared by the tests of the objectives."""

from collections.abc import Callable

import pytest
import torch

from ablate.cli import objective_config
from ablate.objectives import Objective, build


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def objective() -> Callable[..., Objective]:
    """``objective("grpo", clip_high=0.3)``: an objective as its YAML says, with some keys changed."""

    def build_changed(name, **changes):
        return build({**objective_config(name), **changes})

    return build_changed
