"""Every law, for every objective file and every toggle, on rollouts of random shapes."""

import math
from functools import partial

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ablate.cli import objective_config, objective_names
from ablate.errors import UserError
from ablate.objectives import build, laws, parts
from ablate.objectives.knobs import KNOBS
from ablate.objectives.laws import closed_form
from ablate.objectives.laws.synthetic import Shape, random_rollouts
from ablate.objectives.registry import knobs_of

SHAPES = st.builds(
    Shape,
    seed=st.integers(0, 10**6),
    num_groups=st.integers(1, 4),
    group_size=st.integers(2, 6),
    max_length=st.integers(1, 9),
    log_ratio_scale=st.sampled_from([0.0, 2e-4, 0.1, 1.0, 4.0]),
    equal_lengths=st.booleans(),
)
TOGGLES = st.fixed_dictionaries(
    {
        "keep": st.sampled_from(["all", "mixed_outcomes"]),
        "shape": st.sampled_from(["verdict", "one_or_zero", "soft_overlong_penalty"]),
        "overlong": st.sampled_from(["train", "zero_advantage", "mask"]),
        "kl": st.sampled_from([None, None, "k1", "k2", "k3"]),
        "correction": st.sampled_from([None, None, *parts.PARTS["correction"]]),
        "select": st.sampled_from([None, None, *parts.PARTS["select"]]),
        "clip": st.sampled_from([None, (0.05, 0.3)]),
    }
)


def toggled(name, toggles):
    """An objective with toggles, and the numbers that they need."""
    own = objective_config(name)
    toggled_parts = [part for slot in ("shape", "kl", "correction", "select") for part in parts.PARTS[slot].values()]
    read = {knob for part in toggled_parts for knob in knobs_of(part)}
    config = {**own, **{knob: NUMBERS[knob] for knob in read}, **toggles}
    config["select"] = toggles["select"] or own["select"]
    if own["advantage"] == "mean_normalised":
        config["shape"] = own["shape"]  # it refuses the others: their rewards can be negative
    if own["pass_k"]:
        config["pass_k"] = NUMBERS["pass_k"]  # the smallest groups here have two rollouts
    clip = config.pop("clip")
    if clip:
        config["clip_low"], config["clip_high"] = clip
    return build(config)


@pytest.mark.parametrize("name", objective_names())
@settings(max_examples=6, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(shape=SHAPES, toggles=TOGGLES)
def test_every_law_holds_unless_a_part_declares_why_not(name, shape, toggles):
    """One test of all laws: building an objective and its rollouts costs more than most laws."""
    objective, rollouts = toggled(name, toggles), random_rollouts(shape)
    waived = {*objective.waived_laws}
    if shape.log_ratio_scale > 1.0:  # next to a ratio of e^8, a difference of losses has no digits for the other tokens
        waived.add("central_differences")
    applicable = {
        key: law for key, law in laws.LAWS.items() if key not in waived and law.not_applicable(objective) is None
    }
    deviations = {key: law.deviation(objective, rollouts) for key, law in applicable.items()}
    broken = {key: deviation for key, deviation in deviations.items() if not deviation <= applicable[key].tolerance}
    assert not broken, [applicable[key].says for key in broken]


NUMBERS = {name: knob.example for name, knob in KNOBS.items()}
WAIVERS = [
    (slot, name, law)
    for slot, named in parts.PARTS.items()
    for name, part in named.items()
    for law in getattr(part, "waived_laws", {})
]


def grpo_with(slot, name, **changes):
    """GRPO with one part replaced or one term added, and numbers for every part there is."""
    shape = {"mean_normalised": "one_or_zero"}.get(name, "verdict")
    return build({**objective_config("grpo"), "overlong": "train", "shape": shape, **NUMBERS, slot: name, **changes})


def deviation(law, objective, shape):
    """How far the law is from true; a part that refuses the law's rewards does not keep it."""
    try:
        return laws.LAWS[law].deviation(objective, random_rollouts(shape))
    except UserError:
        assert law.startswith("advantage_ignores")
        return math.inf


@pytest.mark.parametrize(("slot", "name", "law"), WAIVERS, ids=[f"{name}-{law}" for _, name, law in WAIVERS])
def test_a_part_that_waives_a_law_gives_a_reason_and_really_breaks_it(slot, name, law):
    """GRPO with that part breaks the law, alone or together with a correction that differs between tokens."""
    assert parts.PARTS[slot][name].waived_laws[law].strip()
    forms = [grpo_with(slot, name)]
    if slot != "correction":
        forms.append(grpo_with(slot, name, correction="truncated_token"))
    if laws.LAWS[law].not_applicable(forms[0]) is None:
        worst = max(deviation(law, form, shape) for form in forms for shape in laws.shapes(24, form))
        assert worst > laws.LAWS[law].tolerance, f"{name} keeps {law} after all: drop the waiver"


def broken_laws(objective):
    return {finding.law for finding in laws.examine(objective, 8) if finding.status == "broken"}


def with_part(objective, slot, part):
    from dataclasses import replace

    return replace(objective, slots=replace(objective.slots, **{slot: part}))


def test_laws_catch_a_clip_that_is_inverted_for_negative_advantages(monkeypatch):
    def inverted(ratio_BT, advantage_B1, logp_BT, *, clip_low, clip_high):
        plain_BT, bounded_BT = ratio_BT * advantage_B1, ratio_BT.clamp(1 - clip_low, 1 + clip_high) * advantage_B1
        return torch.where(advantage_B1 > 0, torch.minimum(plain_BT, bounded_BT), torch.maximum(plain_BT, bounded_BT))

    grpo = build(objective_config("grpo"))
    broken = with_part(grpo, "surrogate", partial(inverted, clip_low=0.2, clip_high=0.2))
    assert "saturation" in broken_laws(broken)
    monkeypatch.setitem(closed_form.SURROGATE_SLOPES, inverted, closed_form.SURROGATE_SLOPES[parts.surrogate.clipped])
    assert "autograd_is_the_closed_form" in broken_laws(broken)


def test_laws_catch_masked_rows_that_stay_in_the_denominator():
    def all_rows(mask_BT, in_loss_B):
        return parts.weight.sequence_mean(mask_BT, torch.ones_like(in_loss_B))

    masked = build({**objective_config("grpo"), "overlong": "mask"})
    assert broken_laws(with_part(masked, "weight", partial(all_rows))) == {"weights_sum_to_one"}


def test_laws_catch_a_surrogate_that_looks_at_other_rows():
    def batch_centred(ratio_BT, advantage_B1, logp_BT):
        return ratio_BT * (advantage_B1 - advantage_B1.mean())

    broken = broken_laws(with_part(build(objective_config("grpo")), "surrogate", partial(batch_centred)))
    assert "micro_batches_add_up" in broken


def test_laws_catch_a_ratio_that_reads_padding():
    def row_mean(log_ratio_BT, mask_BT):
        return log_ratio_BT.mean(dim=1, keepdim=True).expand_as(log_ratio_BT)

    broken = broken_laws(with_part(build(objective_config("gspo")), "ratio", partial(row_mean)))
    assert "padding_changes_nothing" in broken


def test_a_users_own_surrogate_has_no_closed_form_and_is_checked_by_central_differences(tmp_path):
    (tmp_path / "mine.py").write_text(
        "def soft(ratio_BT, advantage_B1, logp_BT, *, sharpness):\n"
        "    return advantage_B1 * (sharpness * (ratio_BT - 1)).tanh() / sharpness\n"
    )
    unclipped = {"clip_low": None, "clip_high": None, "sharpness": 3.0}
    config = {**objective_config("grpo"), **unclipped, "surrogate": f"{tmp_path}/mine.py:soft"}
    status = {finding.law: finding.status for finding in laws.examine(build(config), 8)}
    assert status["autograd_is_the_closed_form"] == "not applicable"
    assert status["saturation"] == "not applicable"
    assert status["central_differences"] == "holds"
    assert "broken" not in status.values()
