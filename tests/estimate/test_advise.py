"""advise=true: a change takes what the estimate says of the same words, and what is taken together fits."""

import io
import sys
from contextlib import redirect_stdout

import pytest

import ablate.estimate.advise
from ablate.cli import changed, compose
from ablate.config import parse
from ablate.errors import UserError
from ablate.estimate.__main__ import main
from ablate.estimate.advise import Advisor, Alternative
from ablate.estimate.cells import estimates_of
from ablate.estimate.settings import estimate_settings

WORDS = [  # the reference run, small enough to be simulated forty times
    *("experiment=nouscoder_14b", "setting=apart", "objective=dapo", "seed=0", "parallel=gpu8"),
    *("context.stages=[{length:8192,steps:20}]", "rollout.prompts_per_step=8", "rollout.max_draws=64"),
    *("eval.contexts=[{length:8192,every:${eval.every}}]", "eval.select_at=8192", "eval.every=5"),
    *("eval.samples_per_problem=2", "eval.pass_at=[1]", "eval.expected_problems=40"),
]

LAYOUT_OF_4 = ("parallel=gpu4", "rollout.engine.share_gpus=false")


def advisor(*words, device="h100", own=WORDS):
    return Advisor([*own, *words], {}, *estimate_settings([f"device={device}", "assumptions.servers=8"]), None, {})


@pytest.fixture(scope="module")
def printed():
    """What the command prints, and the advisor that it asked."""
    asked = []

    class Remembered(Advisor):
        def page(self):
            asked.append(self)
            return super().page()

    words = [word for word in WORDS if not word.startswith("objective=")]
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as out:
        patch.setattr(ablate.estimate.advise, "Advisor", Remembered)
        patch.setattr(
            sys, "argv", ["x", *words, "objective=grpo,dapo", "device=h100", "assumptions.servers=8", "advise=true"]
        )
        main()
    return " ".join(out.getvalue().split()), asked[0]


@pytest.fixture(scope="module")
def advice(printed):
    """The advisor, what each change gives alone, and what is taken together."""
    asked = printed[1]
    singles = {each: tried for each in asked.alternatives() if (tried := asked.tried([each])) is not None}
    return asked, singles, asked.combined(singles)


def test_every_row_is_one_that_the_reference_run_can_take(advice):
    """A misspelt key of conf/advise.yaml raises here; in the command it is a change that the run cannot take."""
    asked = advice[0]
    for each in asked.alternatives():
        changed(asked.composed[()], [word for word in each.words if not word.startswith("parallel=")])
    assert {each.group for each in asked.alternatives()} >= {"GPUs", "recomputation", "lag", "history", "evaluations"}


def test_the_hours_of_a_change_are_those_of_the_estimate_of_the_same_words(advice):
    asked, singles, _ = advice
    for words, servers in ((LAYOUT_OF_4, 12), (("rollout.lag=1",), 8), (("eval.every=10",), 8)):
        (tried,) = (tried for each, tried in singles.items() if each.words == words)
        settings = estimate_settings(["device=h100", f"assumptions.servers={servers}"])
        (estimator,) = estimates_of([parse(compose([*WORDS, *words]))], *settings).values()
        assert tried.hours == estimator.run().hours
        assert tried.devices == f"{16 - servers} + {servers}"
    assert asked.present.hours > singles[next(each for each in singles if each.words == ("eval.every=10",))].hours


def test_what_is_taken_together_is_on_policy_fits_and_is_shorter_than_each_alone(advice):
    asked, singles, steps = advice
    taken = [each for each, _ in steps]
    assert not any(each.off_policy for each in taken)
    assert len({each.group for each in taken}) == len(taken) > 1
    assert all(tried.fault is None for _, tried in steps)
    possible = [tried.hours for each, tried in singles.items() if not each.off_policy and tried.fault is None]
    assert steps[-1][1].hours <= min(possible)
    assert [each.changes is None for each in taken] == sorted((each.changes is None for each in taken), reverse=True)
    assert asked.tried(taken) == steps[-1][1]


def test_a_layout_of_all_devices_shares_them_and_leaves_its_servers_the_memory_that_it_does_not_hold(advice):
    _, singles, _ = advice
    words, tried = next((each.words, tried) for each, tried in singles.items() if "parallel=gpu16" in each.words)
    assert tried.devices == "16 + 0"
    assert words[1] == "rollout.engine.share_gpus=true"
    assert tried.fault is None
    assert 0.3 < float(words[2].partition("=")[2]) < 0.9, "14B of 16 ranks, on 80 GB"


def test_what_does_not_fit_the_device_is_said_and_not_taken(advice):
    _, singles, steps = advice
    unfit = [each for each, tried in singles.items() if tried.fault is not None]
    assert any(each.words == LAYOUT_OF_4 for each in unfit), "14B in four parts, on 80 GB"
    assert not set(unfit) & {each for each, _ in steps}


def test_a_change_that_changes_nothing_or_contradicts_the_run_is_no_row():
    asked = advisor("eval.at_start=false")
    assert asked.tried([Alternative("start", ("eval.at_start=false",), None)]) is None
    assert asked.tried([Alternative("x", ("parallel.recompute=none", "parallel.recompute_layers=3"), None)]) is None


def test_on_one_gpu_the_engine_takes_what_the_trainer_leaves():
    asked = advisor(device="rtx4090", own=["experiment=one_gpu", "objective=grpo", "seed=0", "context.steps=5"])
    more = Alternative("memory", ("rollout.engine.gpu_memory_utilization=0.6",), None)
    assert asked.present.fault is None
    assert asked.tried([more]).fault == "a rank and the engine do not fit one device"
    assert asked.tried([more, Alternative("layout", ("parallel=gpu1_offload",), None)]).fault is None


def test_the_page_names_the_longest_cell_its_devices_and_the_words_that_take_all_of_it(printed, advice):
    shown, _, (_, _, steps) = *printed, advice
    assert "nouscoder_14b, dapo, on 16 x h100: what would shorten its" in shown
    assert "batches are one step old: use objective.correction" in shown
    assert f"All of them: {' '.join(word for each, _ in steps for word in each.words)}" in shown


def test_a_word_that_is_neither_true_nor_false_is_refused(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["x", "experiment=nouscoder_14b", "advise=yes"])
    with pytest.raises(UserError, match="advise=yes is not one of true, false"):
        main()
