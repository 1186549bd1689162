"""One sweep definition gives the same cells, in the same directories, whoever expands it."""

import pytest
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser

from ablate.cli import compose
from ablate.errors import UserError
from ablate.plan import expand, plan

SWEEPS = [
    ["experiment=tiny"],
    ["experiment=tiny", "seed=0,1,2"],
    ["experiment=tiny", "objective=dapo"],
    ["experiment=tiny", "seed=range(0,3)", "optim.clip_grad=0.5"],
    ["experiment=tiny", "context.stages=[{length:80,steps:2}]", "objective.overlong=choice(mask,off)"],
]


@pytest.mark.parametrize("overrides", SWEEPS, ids=" ".join)
def test_the_expansion_is_hydras_own(overrides):
    params = compose(["experiment=tiny"], with_hydra=True).hydra.sweeper.params
    words = [*(f"{key}={value}" for key, value in params.items()), *overrides]
    [jobs] = BasicSweeper.split_arguments(OverridesParser.create().parse_overrides(words), None)
    assert [list(job) for job in expand(overrides)] == jobs


def test_the_directory_of_a_cell_is_that_of_hydras_sweep():
    for cell in plan(["experiment=tiny"]):
        hydra = compose(cell.overrides, with_hydra=True).hydra
        assert str(cell.directory) == f"{hydra.sweep.dir}/{hydra.sweep.subdir}"
        assert str(cell.directory) == hydra.run.dir


def test_two_cells_never_share_a_directory():
    with pytest.raises(UserError, match=r"two cells share .*put every swept key into `cell`"):
        plan(["experiment=tiny", "optim.lr=1e-3,1e-4"])
    cells = plan(["experiment=tiny", "optim.lr=1e-3,1e-4", "cell='${objective.name}_lr${optim.lr}'"])
    assert len({cell.directory for cell in cells}) == 16
