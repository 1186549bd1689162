"""The report: self-contained, every number leads to its runs, inconvenient facts are stated."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest

from ablate.config import ComparisonConfig, LongerContextConfig
from ablate.config.schema import DesignConfig
from ablate.errors import UserError
from ablate_analysis import finished as report_module
from ablate_analysis import render, tables
from ablate_analysis.compare import compare
from ablate_analysis.figures import score_by_context
from ablate_analysis.findings import caveats, findings, published_caveat, second_comparison_sentences
from ablate_analysis.load import load_experiment, load_runs
from ablate_analysis.longer_context import context_gains, fixed_sentences
from ablate_analysis.report import Report, ReportConfig, write_report, write_report_of_runs
from ablate_analysis.verdicts import answer
from ablate_analysis.why import contributions, explain, largest_gap

CONFIG = ReportConfig(
    folder="",
    on_extra_factor="refuse",
    pass_at=1,
    resamples=500,
    confidence=0.95,
    power=0.8,
    seed=0,
    window=3,
    run_pages=False,  # test_pages.py has them
)

FACTORS = ["objective.ratio", "objective.weight", "objective.clip_low", "objective.clip_high"]
DECLARED = ComparisonConfig(
    FACTORS,
    "ratio=token-weight=sequence_mean",
    min_seeds=2,
    longer_context=None,
    design=None,
    tuned_in=None,
    note=None,
    published=[],
)
MAIN = replace(DECLARED, factors=["objective"], baseline="grpo")


@pytest.fixture(scope="module")
def written(recorded: Path, tmp_path_factory: pytest.TempPathFactory) -> Report:
    """A report on the crossed experiment, in a folder elsewhere."""
    folder = tmp_path_factory.mktemp("report")
    return write_report(recorded / "ratio_x_weight", replace(CONFIG, folder=str(folder)), DECLARED)


@pytest.fixture
def one_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw only the first figure: the others take most of a report's time."""
    monkeypatch.setattr(report_module, "all_figures", lambda _, comparison, __: [score_by_context(comparison)])


def silenced(copied_runs: Path, cell: str, **values: float) -> None:
    """Overwrite metrics of a cell in every step."""
    for path in copied_runs.glob(f"{cell}/seed*/metrics.jsonl"):
        rows = [json.loads(line) | values for line in path.read_text().splitlines()]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_it_leaves_a_page_tables_and_every_figure_as_png_and_svg(written):
    folder = written.page.parent
    names = {path.name for path in folder.iterdir()}
    assert {"report.html", "table.md", "table.tex", "scores.csv"} <= names
    figures = {name.removesuffix(".png") for name in names if name.endswith(".png")}
    assert figures == {
        "score_by_context", "differences", "two_by_two", "learning_curves", "compute", "length_and_truncation",
        "clip_fraction", "decomposition",
    }  # fmt: skip
    assert figures == {name.removesuffix(".svg") for name in names if name.endswith(".svg")}


def test_the_page_needs_no_other_file(written):
    page = written.page.read_text()
    assert re.findall(r'src="', page) == []
    assert len(re.findall(r'data-figure="', page)) >= 10
    assert not re.search("<script[^>]* src=", page)
    assert re.findall("<link [^>]+>", page) == ['<link rel="icon" href="data:,">']


def test_every_link_of_the_page_leads_somewhere(written):
    page, folder = written.page.read_text(), written.page.parent
    targets = re.findall(r'<a href="([^"]+)"', page)
    anchors = set(re.findall(r'id="([^"]+)"', page))
    assert len(targets) > 40
    for target in targets:
        assert target[1:] in anchors if target.startswith("#") else (folder / unquote(target)).exists(), target


def test_every_score_leads_to_its_runs_with_configuration_and_commit(written, crossed_runs):
    page = written.page.read_text()
    for cell in crossed_runs.cells:
        assert f'href="#{tables.anchor_of(cell)}"' in page
    for run in crossed_runs.runs:
        assert f"{run.name}/config.yaml" in page
        assert f"{run.name}/manifest.json" in page
    assert "0000000000" in page  # the commit


def test_equal_runs_give_equal_pages(written, recorded):
    page = written.page
    before = page.read_bytes()
    config = replace(CONFIG, folder=str(page.parent))
    write_report(recorded / "ratio_x_weight", config, DECLARED)
    assert page.read_bytes() == before


def test_published_numbers_stand_apart_and_only_where_they_are_asked_for(written, recorded, tmp_path, one_figure):
    assert "67.87" not in written.page.read_text()
    declared = replace(DECLARED, published=["nouscoder_14b"])
    page = write_report(recorded / "ratio_x_weight", replace(CONFIG, folder=str(tmp_path)), declared).page.read_text()
    assert page.index('id="published"') > page.index('id="scores"')
    for number in ("67.87", "66.26", "66.52", "60.79", "about 63", "40,960", "81,920", "context"):
        assert number in page
    assert "Nous Research" in page
    assert "454 problems" in published_caveat()


def test_a_second_factor_is_refused_before_anything_is_written(recorded, tmp_path):
    config = replace(CONFIG, folder=str(tmp_path / "report"))
    with pytest.raises(UserError, match="also differ in"):
        write_report(recorded / "ratio_x_weight", config, replace(DECLARED, factors=["objective.ratio"]))
    assert not (tmp_path / "report").exists()


def test_a_labelled_second_factor_stands_in_page_and_table(recorded, tmp_path, one_figure):
    config = replace(CONFIG, folder=str(tmp_path), on_extra_factor="label")
    report = write_report(recorded / "ratio_x_weight", config, replace(DECLARED, factors=["objective.ratio"]))
    assert report.sentences[0].startswith("Not one factor.")
    assert "Not one factor." in report.page.read_text()
    assert "Not one factor." in (tmp_path / "table.md").read_text()


def test_a_clip_that_was_never_live_is_reported_and_marked(copied_runs, settings):
    for cell in ("grpo", "gspo"):
        silenced(copied_runs, cell, **{"policy/clip_is_live": 0.0})
    experiment = load_experiment(copied_runs)
    comparison = compare(experiment, settings)
    (sentence,) = [text for text in findings(experiment, comparison) if "never live" in text]
    assert "GRPO and GSPO" in sentence
    assert "token and sequence ratio have the same gradient" in sentence
    table = render.to_markdown(tables.main_table(comparison, ".."))
    assert "GRPO †" in table
    assert "GSPO+ †" not in table


def test_a_clip_that_was_never_live_is_marked_without_a_warm_start_too(copied_runs, settings):
    silenced(copied_runs, "*", **{"policy/clip_is_live": 0.0})
    experiment = load_experiment(copied_runs)
    experiment = replace(experiment, scores=experiment.scores[experiment.scores["step"] > 0])
    comparison = compare(experiment, settings)
    assert "GSPO+ †" in render.to_markdown(tables.main_table(comparison, ".."))
    assert any("never live in GRPO, DAPO, GSPO and GSPO+" in text for text in findings(experiment, comparison))


def test_scores_by_difficulty_add_up_to_the_score(main_runs, settings):
    comparison = compare(main_runs, settings)
    table = tables.difficulty_table(comparison, main_runs.scores)
    assert [name.split("\n")[0] for name in table.header[2:]] == ["easy", "medium", "hard"]
    counts = [int(re.search(r"\((\d+)", name).group(1)) for name in table.header[2:]]
    assert sum(counts) == 16
    row = next(row for row in table.rows if row[:2] == ("GSPO", "320"))
    whole = sum(float(share) * count for share, count in zip(row[2:], counts, strict=True)) / 16
    frame = comparison.frame
    point = frame[(frame["cell"] == "gspo") & (frame["context"] == 320)]["point"].item()
    assert whole == pytest.approx(100 * point, abs=0.1)


def test_a_clip_that_never_bound_is_reported(copied_runs, settings):
    silenced(copied_runs, "dapo", **{"policy/clip_low": 0.0, "policy/clip_high": 0.0})
    experiment = load_experiment(copied_runs)
    said = " ".join(findings(experiment, compare(experiment, settings)))
    assert "No token was ever clipped in DAPO" in said


def test_a_report_without_a_detectable_difference_says_what_it_would_take(main_runs, settings):
    said = " ".join(findings(main_runs, compare(main_runs, settings)))
    assert "At 160 tokens no difference from GRPO is detectable" in said
    assert re.search(r"3 seeds x 16 problems x 4 samples this design detects a difference of [\d.]+ points", said)
    assert re.search(r"would take \d+ seeds or [\d,]+ problems", said)


def test_the_report_says_that_one_seed_tells_nothing_about_others(copied_runs, settings):
    for path in copied_runs.glob("*/seed[12]/manifest.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"status": "preempted"}))
    experiment = load_experiment(copied_runs)
    said = " ".join(findings(experiment, compare(experiment, settings)))
    assert "No cell is compared with GRPO: that takes comparison.min_seeds=2 matched seeds" in said
    assert "ran with one seed" in said
    assert "Left out, not finished: dapo/seed1 is preempted" in said


def test_markdown_latex_and_html_hold_the_same_numbers(main_runs, settings):
    table = tables.main_table(compare(main_runs, settings), "..")
    numbers = {text for row in table.rows for text in re.findall(r"\d+\.\d", render.plain(row[2]))}
    for rendering in (render.to_markdown(table), render.to_latex(table), str(render.to_html(table))):
        assert numbers <= set(re.findall(r"\d+\.\d", rendering))
    assert render.to_latex(table).count(r"\\") == len(table.rows) + 1


def test_a_cell_of_text_cannot_break_the_page():
    table = render.Table("t", "<b>", ("a|b",), (("<script>",), (render.Link("x|y", "p"),)))
    assert "<script>" not in render.to_html(table)
    assert "x\\|y" in render.to_markdown(table)


def test_labels_of_a_table_are_text_for_latex_whatever_they_hold():
    hostile = r"\input{/etc/passwd} $x^2$ ~ #1 50%_&" + "\n\r"
    table = render.Table("t", "t", (hostile, "b"), ((hostile, "[1, 2]"), ("[x]", "*")), note="a\nb \\c")
    latex = render.to_latex(table)
    escaped = r"\textbackslash{}input\{/etc/passwd\} \$x\textasciicircum{}2\$ \textasciitilde{} \#1 50\%\_\&"
    assert [line.count(escaped) for line in latex.splitlines()] == [0, 0, 1, 0, 1, 0, 0, 0, 0]
    assert "{}[x] & *" in latex, "LaTeX takes a bracket after a line break as its option"
    assert latex.splitlines()[-1] == r"% a b \c", "a note stays a comment"


def test_cells_that_trained_on_groups_of_atropos_are_named(main_runs, settings):
    first, *others = main_runs.runs
    arrived = replace(first, manifest={**first.manifest, "groups": "from Atropos"})
    changed = replace(main_runs, runs=(arrived, *others))
    said = [text for text in caveats(changed, compare(changed, settings)) if "in order of arrival" in text]
    assert [text.split(" took")[0] for text in said] == [main_runs.names[first.cell]]
    assert not any("in order of arrival" in text for text in caveats(main_runs, compare(main_runs, settings)))


def test_every_published_number_has_a_source():
    rows = tables.published_rows()
    assert len(rows) == 7
    assert rows[["source", "url", "benchmark", "metric"]].notna().all().all()


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", *arguments], cwd=cwd, capture_output=True, text=True, check=False)


def test_the_command_finds_the_analysis_from_any_folder(copied_runs):
    result = run("ablate.report", "experiment=main", "report.resamples=200", cwd=copied_runs.parent.parent)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == "outputs/main/report/report.html"
    assert (copied_runs / "report" / "report.html").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("ablate.report", "experiment=main"), "outputs/main holds no run"),
        (("ablate.report", "experiment=nope"), "there is no experiment nope. The choices are"),
        (("ablate_analysis.notebooks", "experiment=main"), "outputs/main does not exist"),
        (("ablate_analysis.notebooks", "main"), "main is not of the form key=value"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(arguments, sentence, tmp_path):
    result = run(*arguments, cwd=tmp_path)
    assert result.returncode == 2
    assert sentence in result.stderr
    assert "Traceback" not in result.stderr


def test_one_cell_alone_has_a_report_too(copied_runs, tmp_path, one_figure):
    for cell in ("dapo", "gspo", "gspo_plus"):
        shutil.rmtree(copied_runs / cell)
    config = replace(CONFIG, folder=str(tmp_path))
    report = write_report(copied_runs, config, MAIN)
    assert not any("differ" in sentence for sentence in report.sentences)
    assert report.answer == ("At 160 and 320 tokens GRPO is above the warm start, by 20.3 to 29.2 points.",)
    assert not (tmp_path / "differences.png").exists()


def with_status(runs: Path, pattern: str, status: str) -> None:
    for path in runs.glob(f"{pattern}/manifest.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"status": status, "error": "Error: <b>disk full"}))


def test_the_report_of_an_unfinished_sweep_says_so_and_scores_finished_runs_only(copied_runs, tmp_path, one_figure):
    with_status(copied_runs, "gspo/seed*", "preempted")
    planned = ["grpo/seed0", "gspo/seed1", "gspo/seed7"]
    report = write_report(copied_runs, replace(CONFIG, folder=str(tmp_path)), MAIN, planned)
    page = report.page.read_text()
    assert report.summary()[-2] == "This sweep is not finished: of its 13 runs 9 done, 3 preempted, 1 missing."
    assert page.index("This sweep is not finished") < page.index('class="answer"')
    states = dict(re.findall(r"<td>(?:<a[^>]*>)?(\w+/seed\d)(?:</a>)?</td><td>(\w+)</td>", page))
    assert states["gspo/seed0"] == "preempted"
    assert states["gspo/seed7"] == "missing"
    assert len(states) == 13
    assert "Error: &lt;b&gt;disk full" in page
    assert 'id="partial-rollout-pass_rate"' in page
    assert "| GSPO |" not in (tmp_path / "table.md").read_text()
    assert set(pd.read_csv(tmp_path / "scores.csv")["cell"]) == {"warm start", "grpo", "dapo", "gspo_plus"}


@pytest.mark.parametrize(("futility", "is_decided"), [(0.999, True), (0.0, False)])
def test_runs_that_a_decided_design_does_not_need_are_not_missing(
    copied_runs, tmp_path, one_figure, futility, is_decided
):
    """So high a futility bound ends the sweep at the first look; without it three seeds decide nothing."""
    made = DesignConfig(cell="dapo", context=160, effect=0.01, looks=[3, 16], alpha=0.05, futility=futility)
    planned = [f"{cell}/seed{seed}" for cell in ("grpo", "dapo") for seed in range(16)]
    report = write_report(copied_runs, replace(CONFIG, folder=str(tmp_path)), replace(MAIN, design=made), planned)
    assert report.is_unfinished != is_decided
    assert ("This sweep is not finished" in report.page.read_text()) != is_decided
    assert any(sentence.startswith("Look 1 of 2") for sentence in report.answer)


def test_a_sweep_without_a_finished_run_has_states_and_curves_and_no_score(copied_runs, tmp_path):
    with_status(copied_runs, "*/seed*", "running")
    report = write_report(copied_runs, replace(CONFIG, folder=str(tmp_path / "report")), MAIN)
    page = report.page.read_text()
    assert "of its 12 runs 12 interrupted" in page
    assert "There is no score before a run is finished." in page
    assert 'id="verdicts"' not in page
    assert {path.name for path in report.page.parent.iterdir()} == {"report.html"}


def test_the_answer_ranks_two_cells_only_where_their_difference_is_detectable(main_runs, settings):
    comparison = compare(main_runs, settings)
    first, second, *_ = answer(comparison)
    assert re.fullmatch(
        r"At 160 and 320 tokens every cell is above the warm start, by [\d.]+ to [\d.]+ points\.", first
    )
    assert second == "No two cells differ detectably at any context."
    excluding = comparison.pairs.assign(low=comparison.pairs["point"] / 2)
    *_, why = answer(replace(comparison, pairs=excluding))
    assert re.fullmatch(r"The adjustment for \d+ differences decides that: .* minus .* would exclude 0\.", why)
    pairs = comparison.pairs.assign(is_clear=comparison.pairs["point"] == comparison.pairs["point"].max())
    _, second = answer(replace(comparison, pairs=pairs))
    assert re.fullmatch(
        r"GSPO is above GRPO by .* points at 160 tokens; no other two cells differ detectably\.", second
    )


@pytest.mark.parametrize("seed", range(5))
def test_no_sentence_of_the_answer_ranks_cells_that_differ_by_noise_alone(main_runs, settings, seed):
    """The verdicts are shuffled within every problem, over all cells: no cell is better than another."""
    scores, rng = main_runs.scores, np.random.default_rng(seed)
    trained = scores["step"] > 0
    mixed = scores[trained].groupby(["context", "problem_id"])["passed"].transform(lambda x: rng.permutation(x))
    shuffled = replace(
        main_runs, scores=scores.assign(passed=mixed.reindex(scores.index).fillna(scores["passed"]).astype(bool))
    )
    said = answer(compare(shuffled, replace(settings, seed=seed)))
    assert said[1] == "No two cells differ detectably at any context."


def test_with_fewer_seeds_than_needed_no_cell_is_ranked_and_the_sentence_says_why(main_runs, settings):
    comparison = compare(main_runs, replace(settings, min_seeds=4))
    assert answer(comparison)[1] == "The cells are not ranked: that takes 4 seeds of every cell, and there are 3."
    assert not comparison.pairs["is_tested"].any()


def test_the_explanation_is_of_a_difference_that_is_there_and_its_parts_add_up(main_runs, settings):
    comparison = compare(main_runs, settings)
    gap = largest_gap(comparison)
    assert gap.is_gain, "no two cells differ, so the largest gain over the warm start is explained"
    classes = contributions(main_runs, comparison, gap)
    assert sum(each.points for each in classes) == pytest.approx(gap.point)
    explanation = explain(main_runs, comparison)
    assert explanation.sentences[0].startswith("No two cells differ detectably, so this is the largest gain")
    parts = [float(each) for each in re.findall(r"([+-]\d+\.\d) points", explanation.sentences[2])]
    assert sum(parts) == pytest.approx(100 * gap.point, abs=1.5)  # what passed although cut off is the rest
    assert explanation.examples


def test_where_nothing_differs_there_is_nothing_to_explain(main_runs, settings):
    comparison = compare(main_runs, settings)
    flat = comparison.frame.assign(gain_p_holm=1.0)
    explanation = explain(main_runs, replace(comparison, frame=flat))
    assert explanation.gap is None
    assert explanation.sentences[0].startswith("There is no difference to explain")


def test_any_runs_have_a_report_that_names_what_differs_and_compares_nothing(recorded, tmp_path):
    runs = [recorded / "main" / "grpo", recorded / "main" / "gspo" / "seed0"]
    report = write_report_of_runs(runs, replace(CONFIG, folder=str(tmp_path)), replace(MAIN, factors=[]), "two cells")
    assert report.answer[1].startswith("The cells are not ranked: no factor is declared.")
    assert report.sentences[0].startswith("The cells differ in objective.clip_high (grpo")
    assert {row["cell"] for _, row in pd.read_csv(tmp_path / "scores.csv").iterrows()} == {"warm start", "grpo", "gspo"}


def test_one_run_has_a_report_of_its_own(recorded, tmp_path, one_figure):
    path = recorded / "main" / "dapo" / "seed1"
    report = write_report_of_runs([path], replace(CONFIG, folder=str(tmp_path)), replace(MAIN, factors=[]), "seed1")
    assert re.fullmatch(r"At .* tokens DAPO is above the warm start, .* about these runs only\.", report.answer[0])


def test_a_live_report_loads_itself_again_and_writes_finished_runs_once(copied_runs, tmp_path, one_figure):
    with_status(copied_runs, "gspo/seed1", "running")
    config = replace(CONFIG, folder=str(tmp_path), run_pages=True, live=True)
    report = write_report(copied_runs, config, MAIN)
    assert report.is_unfinished
    finished, running = (tmp_path / "runs" / name / "index.html" for name in ("grpo/seed0", "gspo/seed1"))
    before = finished.stat().st_mtime_ns, running.stat().st_mtime_ns
    write_report(copied_runs, config, MAIN)
    assert finished.stat().st_mtime_ns == before[0]
    assert running.stat().st_mtime_ns > before[1]
    assert unpacked(report.page)["live_s"] == config.live_s
    assert unpacked(finished)["live_s"] is None
    with_status(copied_runs, "gspo/seed1", "done")
    last = write_report(copied_runs, replace(config, live=False), MAIN)
    assert not last.is_unfinished
    assert unpacked(last.page)["live_s"] is None


def unpacked(page: Path) -> dict:
    data = re.search(r'id="data">([^<]+)<', page.read_text())[1]
    return json.loads(zlib.decompress(base64.b64decode(data)))


def test_cells_of_one_name_from_two_experiments_stay_apart(recorded):
    experiment = load_runs([recorded / "main" / "grpo", recorded / "tiny" / "grpo"], "both")
    assert sorted(experiment.names.values()) == ["main, GRPO", "tiny, GRPO"]


def test_a_baseline_that_did_not_run_is_reported(copied_runs, settings):
    shutil.rmtree(copied_runs / "grpo")
    experiment = load_experiment(copied_runs)
    said = findings(experiment, compare(experiment, settings))
    assert "No differences: the baseline grpo is not one of the finished cells." in said


def test_the_findings_count_the_samples_whose_two_verdicts_differ():
    verdicts = {"passed": [True, True, False, False], "passed_second": [True, False, True, None]}
    (sentence,) = second_comparison_sentences(pd.DataFrame(verdicts))
    assert "2 of 3 evaluation samples" in sentence
    assert "1 pass only by it, 1 pass only by verify.comparison" in sentence
    assert second_comparison_sentences(pd.DataFrame({"passed": [True], "passed_second": [None]})) == []


def test_the_comparison_that_was_fixed_in_advance_and_the_note_come_first(recorded, tmp_path, one_figure):
    declared = replace(
        DECLARED,
        longer_context=LongerContextConfig("ratio=token-weight=token_mean", context=160, longer=320),
        note="The effect is designed in.",
    )
    report = write_report(recorded / "ratio_x_weight", replace(CONFIG, folder=str(tmp_path)), declared)
    page, sentences = report.page, report.sentences
    assert sentences[0] == "The effect is designed in."
    assert sentences[1].startswith("Fixed in advance: ")
    assert "in the same 2 runs. It finishes" in sentences[1]
    assert "What a longer context adds" in page.read_text()


def test_a_fixed_comparison_that_was_not_run_is_said(crossed_runs, settings):
    comparison = compare(crossed_runs, settings)
    (said,) = fixed_sentences(comparison, context_gains(comparison), "absent", 160, 640)
    assert said == "The comparison that was fixed in advance, absent at 640 and 160 tokens, was not run."


def test_with_fewer_seeds_than_asked_for_no_cell_is_compared(main_runs, settings):
    comparison = compare(main_runs, replace(settings, min_seeds=4))
    assert comparison.frame["difference"].isna().all()
    assert not any("difference" in name for name in tables.main_table(comparison, "..").header)
    said = " ".join(findings(main_runs, comparison))
    assert (
        "No cell is compared with GRPO: that takes comparison.min_seeds=4 matched seeds, and there are fewer." in said
    )
    assert "detectable" not in said


def test_a_report_imports_no_trainer_and_no_engine():
    """Half of a report's time was spent on that once."""
    code = "import sys, ablate_analysis.report; print({'torch', 'megatron', 'vllm', 'transformers'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"
