"""Shared by the tests of the objectives."""

from collections.abc import Callable

import pytest
import torch

from ablate.objectives import Objective, build
from ablate.replay import preset_config


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def objective() -> Callable[..., Objective]:
    """``objective("grpo", clip_high=0.3)``: a preset as its YAML says, with some keys changed."""

    def build_changed(name, **changes):
        return build({**preset_config(name), **changes})

    return build_changed
