"""A mistake in an objective's configuration is said in one sentence that names the key."""

import pytest

from ablate.errors import UserError
from ablate.objectives import build
from ablate.objectives.cases import replay
from ablate.replay import preset_config

MISTAKES = [
    ({"name": "nope"}, "'nope' is unknown"),
    ({"name": None}, "must name a preset"),
    ({"clip_low": "wide"}, "objective.clip_low must be a number"),
    ({"clip_low": True}, "objective.clip_low must be a number"),
    ({"clip_low": 1.5}, "between 0 and 1"),
    ({"clip_high": None}, "needs clip_high"),
    ({"clip_hihg": 0.3}, "never reads clip_hihg=0.3"),
    ({"constant_length": 100}, "never reads constant_length=100"),
    ({"overlong": "drop"}, "objective.overlong=drop is not one of off"),
    ({"overlong": "soft_penalty"}, "needs max_length, buffer"),
    ({"max_length": 100}, "never reads max_length=100"),
    ({"dynamic_sampling": "yes"}, "objective.dynamic_sampling=yes is not one of true, false"),
    ({"kl": "k4"}, "kl=k4 is no part of that slot: use one of k1, k2, k3"),
    ({"kl": "k3"}, "needs kl_coef"),
    ({"kl_coef": 0.1}, "never reads kl_coef=0.1"),
    ({"correction_cap": 2.0}, "never reads correction_cap=2.0"),
    ({"swap": {"ratios": "token"}}, "swap.ratios is no slot"),
    ({"swap": {"ratio": "turn"}}, "ratio=turn is no part of that slot: use one of token, sequence"),
    ({"swap": "ratio"}, "objective.swap='ratio' must map slots to parts"),
    ({"swap": {"keep": "mixed_outcomes"}}, "swap.keep=mixed_outcomes has no effect with dynamic_sampling=false"),
    ({"swap": {"surrogate": "log_likelihood"}}, "never reads clip_low"),
    (
        {"swap": {"shape": "verdict"}, "overlong": "soft_penalty", "max_length": 9, "buffer": 3},
        "both shape the reward",
    ),
    ({"source": "not_there.py"}, "objective source 'not_there.py' does not exist"),
    ({"source": "not_a_module"}, "objective source 'not_a_module' cannot be imported"),
]


@pytest.mark.parametrize(("change", "sentence"), MISTAKES, ids=[str(change) for change, _ in MISTAKES])
def test_a_mistake_is_one_sentence_that_names_it(change, sentence):
    with pytest.raises(UserError) as caught:
        build({**preset_config("grpo"), **change})
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_overlong_off_may_come_from_yaml_as_false(objective):
    assert objective("grpo", overlong=False).overlong == "off"


def test_null_knobs_are_as_good_as_absent(objective):
    assert "kl_coef" not in objective("grpo", kl_coef=None).knobs


def test_a_case_overrides_any_knob_of_its_preset():
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
    result = replay(case, preset_config)
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
        ({"knobs": {"kl": "k1", "kl_coef": 0.1}}, "kl=kl_k1 needs ref_logp"),
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
        replay({**case, **change}, preset_config)
    assert sentence in str(caught.value)
