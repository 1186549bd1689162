"""One sweep definition gives the same runs in the same directories, whether Hydra or ablate.plan expands it."""

import subprocess
import sys

import pytest
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser

from ablate.check_run import missing_files
from ablate.cli import compose
from ablate.errors import UserError
from ablate.estimate.host import Machine
from ablate.sweep import expand, planned_runs, run_names

SWEEPS = [
    ["experiment=tiny"],
    ["experiment=tiny", "seed=0,1,2"],
    ["experiment=tiny", "objective=dapo"],
    ["experiment=tiny", "seed=range(0,3)", "optim.clip_grad=0.5"],
    ["experiment=tiny", "context.stages=[{length:80,steps:2}]", "objective.overlong=choice(mask,train)"],
]


@pytest.mark.parametrize("overrides", SWEEPS, ids=" ".join)
def test_the_expansion_is_hydras_own(overrides):
    params = compose(["experiment=tiny"], with_hydra=True).hydra.sweeper.params
    words = [*(f"{key}={value}" for key, value in params.items()), *overrides]
    [jobs] = BasicSweeper.split_arguments(OverridesParser.create().parse_overrides(words), None)
    assert [list(job) for job in expand(overrides)] == jobs


@pytest.mark.parametrize("spelling", ["off", "train"])
def test_one_cell_has_one_directory_however_its_part_is_spelled(spelling):
    (run,) = planned_runs(["experiment=overlong", "overlong=train", f"objective.overlong={spelling}", "seed=0"])
    assert run.directory.parent.name == "overlong=train-shape=verdict"
    assert run.config.objective["overlong"] == "train"


def test_a_part_outside_is_in_the_directory_by_its_short_name(tmp_path):
    (tmp_path / "mine.py").write_text("def heavy(mask_BT, in_loss_B):\n    return mask_BT / mask_BT.sum()\n")
    weight = f"objective.weight={tmp_path}/mine.py:heavy"
    (run,) = planned_runs(["experiment=ratio_x_weight", "ratio=token", weight, "seed=0"])
    assert run.directory.parent.name == "ratio=token-weight=mine.py:heavy"
    assert run.config.objective["weight"] == f"{tmp_path}/mine.py:heavy"


@pytest.mark.parametrize("sweep", [["seed=0"], ["-m", "seed=0,1"]])
def test_a_wrong_configuration_is_refused_and_leaves_nothing(tmp_path, sweep):
    words = ["objective.clip_high=-1", f"paths.outputs={tmp_path}/outputs", "experiment=tiny", "objective=grpo"]
    command = [sys.executable, "-m", "ablate.train", *sweep, *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2
    assert "clip_high must be a number 0 or above" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("objective.clip_high=-1", r"clip_high must be a number 0 or above, not -1 \(run: objective=grpo seed=0"),
        ("+objective.clip_hihg=0.3", "clip_hihg"),
        ("objective.weight=nonsense", "nonsense"),
        ("eval.pass_at=[2]", "Pass@1"),
        ("parallel.tensor=3", r"parallel\.tensor=3"),
        ("parallel.world_size=3", r"world_size=3"),
    ],
)
def test_a_run_that_could_not_train_is_refused(word, sentence):
    with pytest.raises(UserError, match=sentence):
        planned_runs(["experiment=main", "seed=0", word], 1, machine=Machine(1, 1, gpus_per_node=0))


def test_a_missing_file_is_a_warning_until_the_run_is_submitted(tmp_path):
    command = [sys.executable, "-m", "ablate.plan", "experiment=tiny", "objective=grpo", "data.train=nowhere.jsonl"]
    planned = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert planned.returncode == 0, planned.stderr
    assert "2 runs: 2 missing" in planned.stdout
    assert planned.stderr.count("warning: problem file nowhere.jsonl does not exist") == 1
    submitted = subprocess.run(
        [*command, "missing_files=error", "out=tasks"], capture_output=True, text=True, cwd=tmp_path
    )
    assert (submitted.returncode, submitted.stdout) == (2, "")
    assert submitted.stderr.startswith("error: problem file nowhere.jsonl does not exist")
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_that_the_parent_of_a_fork_lacks_is_a_missing_file(tmp_path):
    words = ["experiment=fork_objective", "fork.step=5", "fork.repeat=1", "objective=gspo", "seed=3"]
    (run,) = planned_runs([*words, f"paths.outputs={tmp_path}"])
    assert run.config.context.num_steps == 13
    (sentence,) = missing_files(run.config)
    parent = tmp_path / "fork_parent" / "dapo" / "seed3"
    assert sentence.startswith(f"fork.run={parent} has no checkpoint of fork.step=5: name a step that is in")
    complete = parent / "checkpoints" / "step_000005" / "complete.json"
    complete.parent.mkdir(parents=True)
    complete.touch()
    assert missing_files(run.config) == []
    complete.unlink()
    (run.directory / "checkpoints" / "step_000006").mkdir(parents=True)
    assert missing_files(run.config) == [], "it continues from its own checkpoint"


def test_the_names_of_a_sweeps_runs_are_their_directories():
    overrides = ["experiment=tiny", "seed=0,1", "objective=gspo,dapo"]
    assert run_names(overrides) == [f"{run.config.cell}/{run.directory.name}" for run in planned_runs(overrides)]


def test_two_runs_never_share_a_directory():
    with pytest.raises(UserError, match=r"two runs share .*put every swept key into `cell`"):
        planned_runs(["experiment=tiny", "optim.lr=1e-3,1e-4"])
    runs = planned_runs(["experiment=tiny", "optim.lr=1e-3,1e-4", "cell='${objective.name}_lr${optim.lr}'"])
    assert len({run.directory for run in runs}) == 16
