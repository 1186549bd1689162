"""``python -m ablate.replay cases=`` and ``python -m ablate.laws`` as their users meet them."""

import json
import subprocess
import sys
from pathlib import Path

import forks
import pytest

from ablate import laws, replay
from ablate.errors import UserError
from ablate.objectives.laws import golden

CASES = Path(__file__).with_name("golden_cases.json")


def run(monkeypatch, module, *words):
    monkeypatch.setattr(sys, "argv", [module.__name__, *map(str, words)])
    return module.main()


def test_cases_are_read_and_results_written_in_the_golden_schema(monkeypatch, tmp_path):
    cases = json.loads(CASES.read_text())
    without_answers = [{key: value for key, value in case.items() if key != "expected"} for case in cases]
    (tmp_path / "in.json").write_text(json.dumps(without_answers))
    run(monkeypatch, replay, f"cases={tmp_path}/in.json", f"out={tmp_path}/out.json")
    results = json.loads((tmp_path / "out.json").read_text())
    assert [set(result) for result in results] == [{"advantage", "loss", "grad", "in_loss"}] * len(cases)
    assert [result["loss"] for result in results] == pytest.approx(
        [case["expected"]["loss"] for case in cases], abs=1e-9, rel=0
    )


def test_a_bad_case_file_is_one_sentence_with_the_case_number_and_exit_code_2(tmp_path):
    cases = json.loads(CASES.read_text())[:3]
    cases[1]["knobs"]["ratio"] = "turn"
    (tmp_path / "in.json").write_text(json.dumps(cases))
    result = forks.run(["-m", "ablate.replay", f"cases={tmp_path}/in.json", f"out={tmp_path}/out.json"])
    assert result.returncode == 2
    assert result.stderr.startswith("error: case 2 of 3 in ")
    assert "ratio=turn is not a part of that slot" in result.stderr
    assert "Traceback" not in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("module", "words", "sentence"),
    [
        (replay, ["cases=in.json"], "out=… is needed"),
        (replay, ["objective.clip_high=0.3"], "cases=… is needed"),
        (replay, ["grpo"], "grpo is not of the form key=value"),
        (replay, ["cases=not_there.json", "out=x.json"], "case file not_there.json does not exist"),
        (laws, ["laws=nope"], "objective 'nope' is unknown: use one of aspo, cispo, clip_cov, dapo"),
        (laws, ["golden=maybe"], "golden=maybe is not one of check, record"),
        (laws, ["laws=grpo", "golden=check"], "needs either laws=NAME or golden=check|record"),
    ],
)
def test_a_wrong_command_line_is_refused_in_one_sentence(monkeypatch, module, words, sentence):
    with pytest.raises(UserError) as caught:
        run(monkeypatch, module, *words)
    assert sentence in str(caught.value)


def test_laws_prints_a_line_per_law_and_takes_overrides(monkeypatch, capsys):
    monkeypatch.setattr(laws, "LAW_BATCHES", 2)
    words = ["laws=gspo", "objective.weight=token_mean", "objective.kl=k3", "objective.kl_coef=0.1", "overlong=mask"]
    assert run(monkeypatch, laws, *words) == 0
    printed = capsys.readouterr().out
    assert "holds           weights_sum_to_one" in printed
    assert "waived          gradient_vanishes_without_advantage        the KL term" in printed
    assert "gspo: 14 laws hold, 0 broken, of 19" in printed


def test_every_objective_has_its_committed_loss_and_gradient_norm_to_12_digits(monkeypatch, capsys):
    assert run(monkeypatch, laws, "golden=check") == 0, capsys.readouterr().out


def test_a_changed_value_is_named(monkeypatch):
    values = golden.read_golden()
    values["grpo"]["far loss"] = "0.1"
    committed = golden.read_golden()["grpo"]["far loss"]
    assert golden.changed_values(values) == [f"grpo far loss: 0.1 instead of {committed}"]


def test_objectives_import_neither_hydra_nor_the_heavy_libraries():
    code = "import sys, ablate.objectives; print(*{m.split('.')[0] for m in sys.modules})"
    loaded = set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.split())
    assert "torch" in loaded
    assert not loaded & {"hydra", "omegaconf", "megatron", "vllm", "transformers", "pandas", "pyarrow", "matplotlib"}
