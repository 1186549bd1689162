"""A mistake in an objective's configuration is reported in one sentence that names the key."""

import subprocess
import sys

import pytest
from omegaconf import OmegaConf

from ablate.check_run import check_run, objective_with
from ablate.cli import CONF_DIR, SEARCHPATH, compose, objective_config, objective_names
from ablate.errors import UserError
from ablate.objectives import build, canonical, outside_files
from ablate.objectives.knobs import KNOBS
from ablate.objectives.parts import PARTS
from ablate.objectives.registry import knobs_of
from ablate.records.provenance import file_changes
from ablate_analysis.cases import replay

MISTAKES = [
    ({"name": None}, "objective.name=None must be a name"),
    ({"clip_low": "wide"}, "objective.clip_low must be a number"),
    ({"clip_low": True}, "objective.clip_low must be a number"),
    ({"clip_low": 1.5}, "between 0 and 1"),
    ({"clip_high": None}, "needs clip_high"),
    ({"clip_hihg": 0.3}, "no part reads clip_hihg: the knobs are clip_low, clip_high, eps"),
    ({"overlong": "drop"}, "objective.overlong=drop is not a part of that slot: use one of train, zero"),
    ({"ratio": "sequence", "surrogate": "quadratic", "log_ratio_penalty": 1}, "is defined for ratio=token only"),
    ({"surrogate": "dual_clipped", "dual_clip": 1.1}, "objective.dual_clip=1.1 must be above 1 + clip_high"),
    ({"correction": "masked_token", "correction_low": 2, "correction_high": 1}, "must be below correction_high"),
    ({"advantage": "pass_at_k", "pass_k": 2.5}, "objective.pass_k must be a whole number from 1"),
    ({"select": "top_entropy_tokens", "entropy_share": 0}, "must be a number above 0 and at most 1"),
    ({"select": "some"}, "objective.select=some is not a part of that slot: use one of all, mixed_groups"),
    ({"shape": "soft_overlong_penalty"}, "needs max_length, buffer: set objective.max_length"),
    ({"keep": "some"}, "objective.keep=some is not a part of that slot: use one of all, mixed_outcomes"),
    ({"ratio": "turn"}, "objective.ratio=turn is not a part of that slot: use one of token, sequence"),
    ({"ratio": None}, "objective.ratio=None is not a part of that slot"),
    ({"kl": "k4"}, "objective.kl=k4 is not a part of that slot: use one of k1, k2, k3"),
    ({"kl": "k3"}, "kl=k3 needs kl_coef"),
    ({"swap": {"ratio": "sequence"}}, "no part reads swap"),
    ({"weight": "not_there.py:w"}, "not_there.py does not exist: correct the path"),
    ({"weight": "not_a_module:w"}, "objective part file not_a_module cannot be loaded (ModuleNotFoundError"),
    ({"weight": "json:w"}, "json has no function 'w'"),
]


@pytest.mark.parametrize(("change", "sentence"), MISTAKES, ids=[str(change) for change, _ in MISTAKES])
def test_a_mistake_is_one_sentence_that_names_it(change, sentence):
    with pytest.raises(UserError) as caught:
        build({**objective_config("grpo"), **change})
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("spelling", ["off", False, "train"])
def test_overlong_off_is_train_and_the_record_holds_one_spelling(objective, spelling):
    assert objective("grpo", overlong=spelling).part_names["overlong"] == "train"
    assert canonical({**objective_config("grpo"), "overlong": spelling})["overlong"] == "train"


@pytest.mark.parametrize("name", objective_names())
def test_a_composed_objective_is_its_own_record(name):
    assert canonical(objective_config(name)) == objective_config(name)


@pytest.mark.parametrize(
    ("override", "absent"),
    [
        ("objective.advantage=group_centred", {"eps"}),
        ("objective.surrogate=log_likelihood", {"clip_low", "clip_high"}),
        ("objective.ratio=sequence", set()),
        ("objective.weight=token_mean", set()),
    ],
)
def test_a_knob_whose_part_an_override_removes_is_recorded_as_null(override, absent):
    config = objective_config("grpo", [override])
    before, after = canonical(objective_config("grpo")), canonical(config)
    assert {key for key in before if before[key] is not None and after[key] is None} == absent
    assert set(build(config).knobs) == {"clip_low", "clip_high", "eps"} - absent


@pytest.fixture
def outside_objective(tmp_path):
    """The word that finds ``halfway``, an objective of a user whose weight reads the knob ``power``."""
    (tmp_path / "objective").mkdir()
    (tmp_path / "mine.py").write_text("def heavy(mask_BT, in_loss_B, *, power):\n    return mask_BT * power\n")
    text = f"defaults: [grpo, _self_]\nname: halfway\nweight: {tmp_path}/mine.py:heavy\npower: 0.5\n"
    (tmp_path / "objective" / "halfway.yaml").write_text(text)
    return f"hydra.searchpath=[file://{tmp_path}]"


def test_a_knob_outside_whose_part_an_override_removes_is_recorded_as_null(outside_objective):
    assert build(objective_with("halfway", [outside_objective])).knobs["power"] == 0.5
    words = [outside_objective, "objective.weight=token_mean"]
    assert canonical(objective_with("halfway", words))["power"] is None
    values = compose(["objective=halfway", *words], with_hydra=True)
    assert check_run(values, values.hydra).objective["power"] is None


def test_a_knob_that_no_part_knows_is_an_error_whatever_an_override_removes(outside_objective):
    words = [outside_objective, "objective.weight=token_mean", "+objective.pwoer=2"]
    with pytest.raises(UserError, match="no part reads pwoer"):
        build(objective_with("halfway", words))


@pytest.mark.parametrize("slot", ["ratio", "weight", "advantage", "surrogate", "select"])
def test_a_slot_of_grpo_is_swept_over_all_its_parts(slot):
    for name in PARTS[slot]:
        numbers = {knob: KNOBS[knob].example for knob in knobs_of(PARTS[slot][name]) if knob in KNOBS}
        words = [f"objective.{knob}={value}" for knob, value in numbers.items()]
        config = objective_config("grpo", [f"objective.{slot}={name}", *words])
        assert build(config).part_names[slot] == name


@pytest.mark.parametrize(
    ("words", "keys"),
    [
        (["overlong=mask"], {"overlong": "mask"}),
        (["overlong=soft_penalty"], {"overlong": "train", "shape": "soft_overlong_penalty", "max_length": 104}),
        (["ratio=sequence"], {"ratio": "sequence", "clip_low": 3e-4, "clip_high": 4e-4}),
    ],
)
def test_a_group_sets_its_slot_and_the_knobs_that_go_with_it(words, keys):
    record = canonical(OmegaConf.to_container(compose(words).objective, resolve=True))
    assert {key: record[key] for key in keys} == keys


@pytest.mark.parametrize("source", ["near.py", "objective/near.py", "mine/objective/near.py"])
def test_a_file_is_found_from_the_folders_of_its_yaml(tmp_path, monkeypatch, source):
    folder = tmp_path / "mine"
    (folder / "objective").mkdir(parents=True)
    (folder / "objective" / "near.py").write_text("def heavy(mask_BT, in_loss_B):\n    return mask_BT\n")
    monkeypatch.chdir("/")
    monkeypatch.setenv(SEARCHPATH, str(folder))
    record = canonical({**objective_config("grpo"), "weight": f"{source}:heavy"})
    assert record["weight"] == f"{folder}/objective/near.py:heavy"


def test_a_command_finds_a_file_next_to_its_yaml_from_every_directory(tmp_path):
    (tmp_path / "objective").mkdir()
    yaml = "defaults: [grpo, _self_]\nname: near\nlabel: near\nweight: near.py:heavy\n"
    (tmp_path / "objective" / "near.yaml").write_text(yaml)
    (tmp_path / "objective" / "near.py").write_text("def heavy(mask_BT, in_loss_B):\n    raise ValueError('found')\n")
    words = [sys.executable, "-m", "ablate.laws", "laws=near", f"hydra.searchpath=[file://{tmp_path}]"]
    result = subprocess.run(words, cwd="/", capture_output=True, text=True, check=False)
    assert "found" in result.stdout + result.stderr


def test_a_part_outside_is_recorded_by_its_absolute_path_and_its_digest(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text("def heavy(mask_BT, in_loss_B, *, power=2.0):\n    return mask_BT * power\n")
    monkeypatch.chdir(tmp_path)
    config = {**objective_config("grpo"), "weight": "mine.py:heavy"}
    record = canonical(config)
    assert record["weight"] == f"{tmp_path}/mine.py:heavy"
    assert record["power"] == 2.0
    assert canonical(record) == record
    before = outside_files(config)
    assert list(before) == [f"{tmp_path}/mine.py"]
    (tmp_path / "mine.py").write_text("def heavy(mask_BT, in_loss_B, *, power=2.0):\n    return mask_BT / power\n")
    assert [line.split(":")[0] for line in file_changes(before, outside_files(config))] == [f"{tmp_path}/mine.py"]
    assert outside_files(objective_config("grpo")) == {}


def test_a_part_file_that_cannot_be_run_is_one_sentence(tmp_path):
    (tmp_path / "broken.py").write_text("def heavy(:\n")
    with pytest.raises(UserError, match=r"broken\.py cannot be loaded \(SyntaxError"):
        build({**objective_config("grpo"), "weight": f"{tmp_path}/broken.py:heavy"})


def test_the_clip_range_of_a_one_sided_clip_has_one_bound(objective):
    assert objective("grpo").clip_bounds == pytest.approx((0.8, 1.2))
    assert objective("cispo").clip_bounds == (0.0, 5.0)
    assert objective("grpo", clip_low=1.0, clip_high=float("inf")).has_clip is False
    assert objective("rloo").clip_bounds == (0.0, float("inf"))


def test_null_knobs_are_as_good_as_absent(objective):
    assert "kl_coef" not in objective("grpo", kl_coef=None).knobs


def test_a_case_overrides_any_key_of_its_objective():
    case = {
        "objective": "grpo",
        "knobs": {"ratio": "sequence", "kl": "k3", "kl_coef": 0.5, "overlong": "mask", "clip_high": 0.3},
        "num_groups": 1,
        "group_size": 2,
        "reward": [[1.0, -1.0]],
        "truncated": [[False, True]],
        "length": [[2, 1]],
        "old_logp": [[-0.5, -1.0], [-2.0]],
        "logp": [[-0.5, -1.0], [-2.0]],
        "ref_logp": [[-0.5, -1.5], [-2.0]],
    }
    result = replay(case, objective_config)
    assert result["in_loss"] == [[True, False]]
    advantage = 1 / (2**0.5 + 1e-6)  # rewards +1 and -1: mean 0, std sqrt 2
    assert result["advantage"] == [[pytest.approx(advantage, rel=1e-12), 0.0]]
    # On policy the surrogate is A; k3 is 0 for the first token and e^-0.5 + 0.5 - 1 for the second.
    assert result["loss"] == pytest.approx(-advantage + 0.5 * (2.718281828459045**-0.5 - 0.5) / 2, rel=1e-12)
    assert result["grad"][1] == [0.0]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"logp": [[-0.5]]}, "logp must hold one list per rollout, 2 of them"),
        ({"length": [[2, 2]]}, "old_logp[1] must hold 2 numbers, as length says"),
        ({"reward": [[1.0, "yes"]]}, "reward must hold numbers only"),
        ({"truncated": [[0, 1]]}, "truncated must hold true or false only"),
        ({"rewards": 1}, "unknown field rewards"),
        ({"group_size": 3}, "reward must be 1 lists of 3 values"),
        ({"knobs": {"kl": "k1", "kl_coef": 0.1}}, "kl=k1 needs ref_logp"),
        ({"knobs": {"dynamic_sampling": "yes"}}, "dynamic_sampling='yes' must be true or false"),
        ({"objective": ["grpo"]}, "objective must be a name"),
    ],
)
def test_a_bad_case_says_what_is_wrong(change, sentence):
    case = {
        "objective": "grpo",
        "num_groups": 1,
        "group_size": 2,
        "reward": [[1.0, -1.0]],
        "truncated": [[False, True]],
        "length": [[2, 1]],
        "old_logp": [[-0.5, -1.0], [-2.0]],
        "logp": [[-0.5, -1.0], [-2.0]],
    }
    with pytest.raises(UserError) as caught:
        replay({**case, **change}, objective_config)
    assert sentence in str(caught.value)


def own(tmp_path, text, *words, slot="surrogate"):
    """Check a run of GRPO whose slot is filled by the function ``own`` of a user's file."""
    (tmp_path / "mine.py").write_text(f"from ablate.objectives.parts import waives\n{text}\n")
    values = compose([f"objective.{slot}={tmp_path}/mine.py:own", *words], with_hydra=True)
    return check_run(values, values.hydra)


BONUS = """def own(ratio_BT, advantage_B1, logp_BT):
    return ratio_BT * advantage_B1 - 0.01 * logp_BT.exp() * logp_BT"""


@pytest.mark.parametrize("words", [[], ["objective.keep=mixed_outcomes", "objective.overlong=mask"]])
def test_a_part_outside_that_pulls_on_rows_without_advantage_must_waive_the_law(tmp_path, words):
    """An entropy-like bonus: without the waiver, training would leave these rows out and lose the bonus silently."""
    with pytest.raises(UserError) as caught:
        own(tmp_path, BONUS, *words)
    assert f"objective.surrogate={tmp_path}/mine.py:own pulls on rollouts whose advantage is 0" in str(caught.value)
    assert '@waives(gradient_vanishes_without_advantage="the reason")' in str(caught.value)
    assert "\n" not in str(caught.value)
    own(tmp_path, f'@waives(gradient_vanishes_without_advantage="a bonus")\n{BONUS}', *words)


def test_a_penalty_outside_that_is_0_on_policy_is_found_too(tmp_path):
    text = "def own(logp_BT, ref_logp_BT, *, kl_coef):\n    return kl_coef * (logp_BT - ref_logp_BT) ** 4"
    with pytest.raises(UserError, match="pulls on rollouts whose advantage is 0"):
        own(tmp_path, text, "objective.kl_coef=0.1", slot="kl")


def test_a_part_outside_that_keeps_the_law_needs_no_waiver(tmp_path):
    own(tmp_path, "def own(ratio_BT, advantage_B1, logp_BT):\n    return ratio_BT * advantage_B1")


def test_a_part_outside_that_raises_or_gives_nan_is_refused_before_a_run(tmp_path):
    with pytest.raises(UserError, match=r"cannot be evaluated on random rollouts \(NameError: .*correct the function"):
        own(tmp_path, "def own(ratio_BT, advantage_B1, logp_BT):\n    return ratio * advantage_B1")
    with pytest.raises(UserError, match="pulls on rollouts whose advantage is 0"):
        own(tmp_path, "def own(ratio_BT, advantage_B1, logp_BT):\n    return advantage_B1 / advantage_B1 * logp_BT")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["objective=pass_at_k", "objective.pass_k=99"], "objective.pass_k=99 is more than the "),
        (["objective=maxrl", "objective.shape=verdict"], "set objective.shape=one_or_zero"),
        (["objective=maxrl", "overlong=soft_penalty"], "needs rewards of 0 or above"),
    ],
)
def test_an_advantage_that_the_runs_groups_or_rewards_would_break_is_refused_before_a_run(words, sentence):
    values = compose(words, with_hydra=True)
    with pytest.raises(UserError) as caught:
        check_run(values, values.hydra)
    assert sentence in str(caught.value)


def test_a_part_outside_that_takes_more_than_its_slot_offers_is_refused(tmp_path):
    with pytest.raises(UserError, match="takes a, b, c, d: the slot offers mask_BT, in_loss_B, group_B"):
        own(tmp_path, "def own(a, b, c, d):\n    return a", slot="weight")


def test_every_knob_of_a_part_stands_in_the_one_table_and_in_the_toggles():
    read = {knob for named in PARTS.values() for part in named.values() for knob in knobs_of(part)}
    assert read == set(KNOBS)
    toggles = OmegaConf.load(f"{CONF_DIR}/objective/_toggles.yaml")
    assert set(toggles) == {*KNOBS, "kl", "correction", "select"}
    assert {value for key, value in toggles.items() if key != "select"} == {None}
    assert all(knob.holds(knob.example) for knob in KNOBS.values())
