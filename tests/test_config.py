"""A mistake in a configuration is one sentence with the rule, the value and the fix."""

import re
from dataclasses import MISSING as NO_DEFAULT
from dataclasses import fields, is_dataclass
from importlib import import_module
from pathlib import Path

import forks
import pytest
from omegaconf import MISSING, OmegaConf

from ablate.cli import Words, compose, recorded, split_words
from ablate.config import parse
from ablate.errors import UserError
from ablate.records import checkpoint_directory

SRC = Path(__file__).parents[1] / "src" / "ablate"
MISTAKES = {
    "optim.updates_per_batch=3": "8 prompts x 8 samples = 64 rollouts are not divisible by 3 updates: change",
    "optim.lr=fast": "optim.lr: Value 'fast'",
    "optim.lr=-1": "optim.lr must be above 0, not -1",
    "rollout.samples_per_prompt=1": "gives a group no spread",
    "context.stages=[]": "context.stages is empty",
    "context.stages=[{length:160,steps:2},{length:320,steps:2}]": "need YaRN factors 1, 2, but a run has only one",
    "parallel.max_tokens_per_micro_batch=100": "a row of 160 tokens (context.stages) does not fit parallel.max_tokens",
    "eval.pass_at=[100]": "pass@100 needs at least as many samples",
    "rollout.engine.dtype=null": "rollout.engine.dtype: Incompatible value",
    "cell=..": "names a directory",
    "cell=../elsewhere": "names a directory",
    "optim.lr=inf": "optim.lr must be above 0, not inf",
    "optim.min_lr=1": "optim.min_lr=1.0 is above optim.lr",
    "optim.clip_grad=nan": "optim.clip_grad must be 0 or above, not nan",
    "optim.beta1=1": "optim.beta1 must be below 1",
    "rollout.top_p=2": "rollout.top_p must be above 0 and at most 1",
    "rollout.lag=3": "rollout.lag=3 is not one of 0, 1, 2",
    "rollout.engine.kv_cache_dtype=int3": "rollout.engine.kv_cache_dtype=int3 is not one of auto, bfloat16",
    "rollout.max_draws=7": "rollout.max_draws=7 is below rollout.prompts_per_step=8: raise it",
    "eval.pass_at=[0]": "contains a k below 1",
    "eval.contexts=[{length:0,every:0}]": "needs length above 0, and every 0 or above",
    "eval.contexts=[{length:160,every:1},{length:160,every:0}]": "names a context twice",
}  # fmt: skip


@pytest.mark.parametrize("override", MISTAKES)
def test_a_mistake_is_named(override):
    with pytest.raises(UserError) as caught:
        parse(compose([override]))
    assert MISTAKES[override] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_lag_needs_an_engine_outside_the_trainers_process():
    with pytest.raises(
        UserError, match=r"rollout\.lag=1 samples while .*: set rollout\.engine\.placement=child, or auto"
    ):
        parse(compose(["rollout.lag=1", "rollout.engine.placement=inline"]))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["rollout.lag=1"], r"rollout\.lag=1 samples while .* sleep meanwhile: set rollout\.lag=0, or rollout"),
        (["rollout.engine.placement=child"], r"rollout\.engine\.placement=child has none: set .*placement=servers"),
        (["rollout.groups_from=atropos", "objective.overlong=zero_advantage"], r"others sample: set rollout\.engine"),
    ],
)
def test_servers_take_turns_with_a_trainer_that_waits_for_them(words, sentence):
    with pytest.raises(UserError, match=sentence):
        parse(compose(["rollout.engine.share_gpus=true", *words]))
    parse(compose(["rollout.engine.share_gpus=true", "rollout.engine.placement=servers"]))


SCHEMA_FILES = sorted(path for path in SRC.rglob("*.py") if re.search(r"^class \w+Config\b", path.read_text(), re.M))


@pytest.mark.parametrize("path", SCHEMA_FILES, ids=lambda path: str(path.relative_to(SRC)))
def test_the_schema_has_no_defaults_because_every_value_comes_from_yaml(path):
    schema = import_module(".".join(path.relative_to(SRC.parent).with_suffix("").parts))
    classes = [each for name, each in vars(schema).items() if name.endswith("Config") and is_dataclass(each)]
    defaults = {
        f"{each.__name__}.{field.name}": field.default
        for each in classes
        for field in fields(each)
        if field.default not in (NO_DEFAULT, MISSING) or field.default_factory is not NO_DEFAULT
    }
    assert classes
    assert defaults == {}


@pytest.mark.parametrize(
    ("words", "stages"),
    [
        (["context.length=480", "context.steps=2"], [(480, 2)]),
        (["context.stages=[{length:80,steps:3}]"], [(80, 3)]),
        (["setting=cups", "context=cups_two_stages", "context.steps=5"], [(128, 5), (160, 5)]),
        (["debug=short"], [(160, 2)]),
    ],
)
def test_a_length_and_steps_on_the_command_line_are_those_of_stages_which_stand_alone(words, stages):
    config = parse(compose(["model.original_context=480", *words]))
    assert [(stage.length, stage.steps) for stage in config.context.stages] == stages
    assert vars(config.context).keys() == {"stages"}
    assert config.context.longest == max(length for length, _ in stages)
    assert config.context.num_steps == sum(steps for _, steps in stages)


def test_steps_of_a_schedule_whose_stages_differ_are_refused():
    with pytest.raises(Exception, match=r"context\.steps"):
        compose(["context=nouscoder", "context.steps=2"])


def test_an_unknown_key_is_refused():
    with pytest.raises(Exception, match="learning_rate"):
        parse(compose(["+optim.learning_rate=1"]))


@pytest.mark.parametrize(
    "arguments",
    [["objective=nope"], ["optim.lr=fast"], ["data.train=/no/such/file.jsonl"], ["optim.updates_per_batch=3"],
     ["eval.select_at=99"], ["eval.pass_at=[2]"], ["paths.outputs=/dev/null"]],
)  # fmt: skip
def test_ablate_train_exits_with_2_and_one_sentence(arguments, tmp_path):
    words = ["-m", "ablate.train", *arguments]
    if not arguments[0].startswith("paths."):
        words.append(f"paths.outputs={tmp_path}")
    result = forks.run(words)
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    assert result.stderr.startswith("error: ")
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("checkpoint", "not of the form key=value"),
        ("--out", "not of the form key=value"),
        ("out=b", "out is given twice"),
        ("--config-dir=my_conf", r"hydra\.searchpath=\[file://"),
        ("hydra.searchpath=[file:///no/such/directory]", "/no/such/directory is not a directory"),
    ],
)
def test_a_word_that_no_command_takes_is_not_dropped(word, sentence):
    with pytest.raises(UserError, match=sentence):
        split_words(["eval.seed=1", "out=a", word], ("checkpoint", "out"))


def test_a_command_line_is_own_words_and_overrides():
    words = split_words(["out=a", "eval.seed=1", "~model.build"], ("checkpoint", "out"))
    assert words == Words({"out": "a"}, ("eval.seed=1", "~model.build"))


def test_configuration_files_outside_the_repository_are_found_by_searchpath(tmp_path):
    (tmp_path / "optim").mkdir()
    (tmp_path / "optim" / "mine.yaml").write_text("defaults: [tiny, _self_]\nlr: 0.125\n")
    assert parse(compose([f"hydra.searchpath=[file://{tmp_path}]", "optim=mine"])).optim.lr == 0.125


@pytest.mark.parametrize(
    "command",
    [
        ("ablate.train", "--help"),
        ("ablate.report", "experiment=tiny"),
        ("ablate.evaluate", "checkpoint=outputs/tiny/grpo/seed0"),
        ("ablate.evaluate", "--config-dir=elsewhere"),
        ("ablate.export", "checkpoint=here", "out=there"),
        ("ablate.plan", "experiment=tiny"),
    ],
    ids=" ".join,
)
def test_a_command_that_only_reads_creates_nothing(command, tmp_path):
    result = forks.run(["-m", *command], cwd=tmp_path)
    assert result.returncode in (0, 2), result.stderr
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_checkpoint_may_be_a_run_and_means_its_best(tmp_path):
    checkpoints = tmp_path / "checkpoints"
    for step in (1, 2):
        (checkpoints / f"step_00000{step}").mkdir(parents=True)
    (tmp_path / "config.yaml").touch()
    (checkpoints / "latest").write_text("step_000002")
    assert checkpoint_directory(tmp_path) == checkpoints / "step_000002", "no evaluation yet: the newest"
    (checkpoints / "best").write_text("step_000001")
    assert checkpoint_directory(tmp_path) == checkpoints / "step_000001"


@pytest.mark.parametrize("name", ["step_1/../other", "notes.txt", "step_000001"])
def test_what_is_no_checkpoint_of_a_run_is_refused(tmp_path, name):
    (tmp_path / "notes.txt").write_text("x" * 5000)
    (tmp_path / "step_000001").mkdir()
    with pytest.raises(UserError, match=r"name a run, or a directory checkpoints/step_"):
        checkpoint_directory(tmp_path / name)


def test_a_run_from_before_a_key_existed_is_still_readable(tmp_path):
    own = compose(["context.length=120", "objective=gspo", "model=qwen3_14b", "model.path=/weights"])
    own_before = own.copy()
    OmegaConf.set_struct(own, False)
    del own.parallel.fp8, own.optim.updates_per_batch
    OmegaConf.save(OmegaConf.create(OmegaConf.to_container(own)), tmp_path / "config.yaml")
    config = parse(recorded(tmp_path / "config.yaml", ["parallel.max_tokens_per_micro_batch=4096"]))
    assert config.parallel.fp8 == "none"
    assert config.parallel.max_tokens_per_micro_batch == 4096
    assert config.context.longest == 120
    assert config.optim.updates_per_batch == parse(compose([])).optim.updates_per_batch
    assert config.eval.contexts == parse(own_before).eval.contexts
    assert config.objective == OmegaConf.to_container(own.objective)
    assert config.model.build is None
    assert config.model.architecture == OmegaConf.to_container(own.model.architecture)


def test_a_choice_replaces_the_whole_section_of_a_recorded_run(tmp_path):
    OmegaConf.save(OmegaConf.create(OmegaConf.to_container(compose(["eval.seed=7"]))), tmp_path / "config.yaml")
    chosen = parse(recorded(tmp_path / "config.yaml", ["eval=lcb", "eval.pass_at=[1]", "seed=3"]))
    assert (chosen.eval.seed, chosen.eval.pass_at, chosen.seed) == (1234, [1], 3)
    assert [each.length for each in chosen.eval.contexts] == [40960, 81920]


def test_a_checkpoint_outside_a_run_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"config\.yaml does not exist: checkpoint must be outputs/"):
        recorded(tmp_path / "config.yaml", [])
