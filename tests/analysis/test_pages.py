"""Report and run pages in a real browser: they open from the disk, do what they say, and run nobody else's script."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hostile_runs import ATTACKS, NUM_ROLLOUTS, OBJECTIVES, PROGRAM, attack, rollout, write_hostile_runs

from ablate.config import ComparisonConfig
from ablate_analysis.pages.rollouts import chosen_steps, chunks_of
from ablate_analysis.report import ReportConfig, write_report

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser
CONFIG = ReportConfig(
    folder="", on_extra_factor="label", pass_at=1, resamples=200, confidence=0.95, power=0.8, seed=0, window=3
)
DECLARED = ComparisonConfig(
    ["objective"], "dapo", min_seeds=1, longer_context=None, design=None, tuned_in=None, note=ATTACKS[0], published=[]
)
SIDE_FILE = re.compile(r'ablate\.receive\("[a-z0-9_/]+","[A-Za-z0-9+/=]+"\);\n')


@dataclass
class Opened:
    """A page and everything that it must not do: errors in its console, requests that leave the disk, dialogs."""

    page: Page
    faults: list[str] = field(default_factory=list)


@pytest.fixture(scope="session")
def folder(recorded: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report on hostile runs; its screenshots are kept next to it."""
    root = tmp_path_factory.mktemp("pages")
    runs = write_hostile_runs(recorded, root / "tiny")
    write_report(runs, replace(CONFIG, folder=str(root / "report")), DECLARED)
    return root / "report"


@pytest.fixture
def opened(chromium: Browser, folder: Path):
    @contextmanager
    def open_page(name: str, width: int = 1280, theme: str = "light", anchor: str = "") -> Iterator[Opened]:
        context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=theme)
        context.set_default_timeout(300_000)  # ms
        opened = Opened(context.new_page())
        page, faults = opened.page, opened.faults
        page.on("console", lambda message: faults.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: faults.append(f"error: {error}"))
        page.on("dialog", lambda dialog: (faults.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda request: request.url.startswith(("file:", "data:")) or faults.append(request.url))
        page.goto(f"{(folder / name).as_uri()}{anchor}")
        page.wait_for_selector("body[data-ready]")
        yield opened
        assert page.evaluate("window.pwned") is None
        assert faults == []
        context.close()

    return open_page


RUN = "runs/grpo/seed0/index.html"


def rows_of(page: Page, column: int) -> list[str]:
    return page.locator(f"#rollouts-body td:nth-child({column})").all_inner_texts()


def open_rollout(page: Page, number: int) -> None:
    page.locator("#rollouts-body tr").nth(number).click()
    page.wait_for_selector(f"#detail[data-ready='40 {number}']")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", ["report.html", "samples.html", RUN])
def test_a_page_opens_at_every_width_and_theme(opened, folder, name, width, theme):
    with opened(name, width, theme) as view:
        page = view.page
        if name == RUN:
            open_rollout(page, 2)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        red = int(re.match(r"rgb\((\d+)", page.evaluate("getComputedStyle(document.body).backgroundColor"))[1])
        assert (red < 128) == (theme == "dark")
        page.screenshot(path=folder / f"{Path(name).stem}_{width}_{theme}.png", full_page=True)
        page.click("#theme")
        changed = int(re.match(r"rgb\((\d+)", page.evaluate("getComputedStyle(document.body).backgroundColor"))[1])
        assert (changed < 128) != (theme == "dark")


def test_the_table_sorts_and_filters_and_holds_at_most_200_rows(opened):
    recorded = [rollout(40, index) for index in range(NUM_ROLLOUTS)]
    lengths = [len(row["response_ids"]) for row in recorded]
    with opened(RUN) as view:
        page = view.page
        assert page.locator("#rollouts-body tr").count() == 100
        page.click("th[data-key=length] button")
        assert rows_of(page, 8) == [str(length) for length in sorted(lengths)[:100]]
        page.click("th[data-key=length] button")
        assert rows_of(page, 8)[0] == str(max(lengths))
        page.click("#rollouts-next")
        assert page.inner_text("#rollouts-count") == f"101 to 200 of {NUM_ROLLOUTS}"
        page.select_option("#rollouts-verdict", "time_limit")
        assert set(rows_of(page, 2)) == {"✗ time limit"}
        late = sum(row["verdict"] == "time_limit" for row in recorded)
        assert page.inner_text("#rollouts-count") == f"1 to {late} of {late}"
        page.check("#rollouts-cut")
        cut = sum(row["verdict"] == "time_limit" and not row["finished"] for row in recorded)
        assert page.locator("#rollouts-body tr").count() == cut
        page.uncheck("#rollouts-cut")
        page.select_option("#rollouts-verdict", "")
        page.fill("#rollouts-search", "p7 sample")
        assert page.locator("#rollouts-body tr").count() == 5
        page.fill("#rollouts-search", "nothing like this")
        assert page.inner_text("#rollouts-count") == "no rollout matches"


def test_all_saved_steps_stand_in_one_table(opened):
    with opened(RUN) as view:
        view.page.select_option("#rollouts-step", "all")
        view.page.wait_for_selector(f"#rollouts-count:text-matches('of {2 * NUM_ROLLOUTS}$')")
        view.page.click("th[data-key=step] button")
        assert set(rows_of(view.page, 1)) == {"39"}
        assert view.page.locator("#rollouts-body tr").count() == 100


def test_a_rollout_shows_its_texts_its_failed_test_and_its_group(opened):
    index = next(i for i in range(1, NUM_ROLLOUTS) if rollout(40, i)["reward"] < 0 and i % 10)
    with opened(RUN, anchor=f"#step=40&rollout={index}") as view:
        page = view.page
        page.wait_for_selector(f"#detail[data-ready='40 {index}']")
        shown = page.locator("#detail").evaluate("node => node.textContent")
        assert rollout(40, index)["statement"] in shown
        assert rollout(40, index)["prompt"] in shown
        program = page.locator("#detail details", has_text="Program").first.locator("code")
        assert program.evaluate("node => node.textContent") == PROGRAM
        assert program.locator(".py-keyword").all_inner_texts() == ["import"]
        assert program.locator(".py-comment").inner_text() == '# <b onclick="window.pwned = 1">'
        for name, text in (("input", attack(index)), ("expected", "42\n"), ("got", attack(index + 1))):
            assert page.locator(f".failed-test .{name} pre").evaluate("node => node.textContent") == text
        group = page.locator(".neighbours button")
        assert group.count() == 5
        other = (index // 5) * 5 + (index + 1) % 5
        group.nth(other % 5).click()
        page.wait_for_selector(f"#detail[data-ready='40 {other}']")
        page.keyboard.press("j")
        page.wait_for_selector(f"#detail[data-ready='40 {other + 1}']")


def test_the_token_view_colours_each_objectives_tokens(opened, folder):
    with opened(RUN, anchor="#step=40&rollout=4") as view:
        page = view.page
        page.wait_for_selector(".token-view")
        assert page.locator(".token-column h5").evaluate_all("nodes => nodes.map((node) => node.firstChild.data)") == [
            *OBJECTIVES
        ]
        columns = page.locator(".tokens")
        assert [columns.nth(place).locator(".up, .down").count() for place in (0, 1)] == [1000, 3]
        assert page.locator(".tokens span").count() == 2000
        for place, text in enumerate(ATTACKS):
            said = columns.first.locator("span").nth(place).evaluate("node => node.textContent")
            assert said == text.replace("\n", "⏎\n")
        page.screenshot(path=folder / "tokens.png", full_page=True)
        columns.first.press("2")
        assert page.locator(".tokens .boxed").count() == 5 + 3
        page.locator(".tokens").first.press("o")
        assert page.locator(".token-column").count() == 1
        page.locator(".tokens").first.press("ArrowRight")
        assert page.inner_text(".token-view .reading").startswith("token 2:")
        page.select_option("select[aria-label=Quantity]", "mismatch")
        assert page.locator(".token-column").count() == 1
        page.click("text=Later tokens")
        assert "tokens 2001 to 3013 of 3013" in page.inner_text(".token-view .controls")


def test_without_values_of_tokens_the_page_says_how_to_make_them(opened):
    with opened(RUN, anchor="#step=39&rollout=4") as view:
        view.page.wait_for_selector("#detail[data-ready='39 4']")
        assert "tokens=true" in view.page.inner_text("#detail .note:last-of-type")


def test_no_record_becomes_an_element(opened):
    with opened(RUN) as view:
        for number in range(len(ATTACKS)):
            open_rollout(view.page, number)
            made = "#detail :is(script, img, svg, iframe, a, style, base, textarea)"
            assert view.page.locator(made).count() == 0
        view.page.click("summary:has-text('Attempts')")
        assert ATTACKS[2] in view.page.inner_text("#attempts")
        assert view.page.locator("img").count() == 0


def test_a_missing_side_file_is_said(opened, folder, tmp_path):
    index = folder / "runs/grpo/seed0/steps/step_00039/index.js"
    moved = index.rename(tmp_path / "index.js")
    try:
        with opened(RUN) as view:
            view.page.select_option("#rollouts-step", "39")
            view.page.wait_for_selector("#rollouts-count:has-text('missing')")
            view.faults.clear()  # the browser itself reports the file
    finally:
        moved.rename(index)


def test_a_click_on_a_curve_shows_the_timeline_of_the_step(opened):
    with opened(RUN) as view:
        view.page.locator(".chart svg").nth(3).click(position={"x": 60, "y": 40})
        step = int(view.page.eval_on_selector("#timeline-step", "node => node.value"))
        assert step < 10
        assert "wait batch" in view.page.inner_text("#timeline")
        place = view.page.locator("#timelines")
        for _ in range(100):  # the page scrolls smoothly
            if abs(place.evaluate("node => node.getBoundingClientRect().top")) < 100:
                break
            view.page.wait_for_timeout(50)
        assert abs(place.evaluate("node => node.getBoundingClientRect().top")) < 100


def test_a_tip_shows_the_value_of_the_run_and_of_the_baseline(opened):
    with opened("runs/dapo/seed0/index.html") as view:
        view.page.locator(".chart svg").first.hover(position={"x": 60, "y": 40})
        tip = view.page.locator(".tip")
        assert tip.locator("div").count() == 2
        assert re.search(r"\d\d\.\d %", tip.inner_text())


def test_a_cell_is_switched_off_everywhere_at_once(opened):
    with opened("report.html") as view:
        page = view.page
        before = page.locator("#score_by_context svg path").count()
        page.click(".chip:has-text('DAPO')")
        assert page.locator("#score_by_context svg path").count() < before
        assert page.locator("#verdicts tr[data-cell=dapo]").first.is_hidden()
        assert page.locator(".heat tr[data-cell=dapo]").first.is_hidden()
        page.click(".chip:has-text('all')")
        assert page.locator("#score_by_context svg path").count() == before


def test_two_columns_stand_side_by_side_on_a_wide_page_and_below_each_other_on_a_narrow_one(opened):
    for width, is_wide in ((1280, True), (390, False)):
        with opened("report.html", width) as view:
            tops = (
                view.page.locator(".two").first.locator("> div").evaluate_all("nodes => nodes.map((n) => n.offsetTop)")
            )
            assert (tops[0] == tops[1]) == is_wide


def test_the_samples_of_one_problem_stand_side_by_side_in_two_cells(opened):
    with opened("samples.html", anchor="#context=320&left=grpo&right=dapo") as view:
        page = view.page
        first = page.inner_text("#body tr:first-child td:first-child")
        page.click("#body tr:first-child td[data-cell=dapo] button")
        page.wait_for_selector("#pair[data-ready]")
        assert page.locator(".sides section").count() == 2
        assert first[:12] in page.inner_text("#pair h3")
        shown = page.locator("#pair").evaluate("node => node.textContent")
        assert ATTACKS[0] in shown
        assert page.locator("#pair :is(script, img, iframe, a, style, base, textarea)").count() == 0
        page.click("nav[aria-label='left: samples'] button >> nth=1")
        page.wait_for_selector("nav[aria-label='left: samples'] button:nth-child(2)[aria-current]")


def test_the_problems_filter_by_who_passes(opened):
    with opened("samples.html", anchor="#context=320&left=grpo&right=dapo") as view:
        page = view.page
        for chosen, wins, loses in (("left", "grpo", "dapo"), ("right", "dapo", "grpo")):
            page.select_option("#filter", chosen)
            for row in page.locator("#body tr").all():
                rate = {}
                for cell in (wins, loses):
                    passed, samples = row.locator(f"td[data-cell={cell}]").inner_text().split("/")
                    rate[cell] = int(passed) / int(samples)
                assert rate[wins] > 0.5 > rate[loses]


def test_tables_of_the_report_sort_and_copy(opened):
    with opened("report.html") as view:
        page = view.page
        page.click("#main th:nth-child(3) button")
        scores = [float(text.split()[0]) for text in page.locator("#main td:nth-child(3)").all_inner_texts()]
        assert scores == sorted(scores)
        assert page.locator("#main th:nth-child(3)").get_attribute("aria-sort") == "ascending"
        copied = page.evaluate("ablate.tables.csv(document.querySelector('#main table'))").splitlines()
        assert copied[0] == ",seeds,Pass@1 at 160 tokens,difference from DAPO,Pass@1 at 320 tokens,difference from DAPO"
        assert len(copied) == 1 + len(scores)
        assert '"50.0 [' in copied[1]
        lines = page.evaluate("ablate.tables.markdown(document.querySelector('#main table'))").splitlines()
        assert lines[1] == "|---|---:|---:|---:|---:|---:|"
        page.locator("#main .copy button").first.click()
        page.wait_for_selector("#main .copy button:has-text('Copied'), #main textarea")


def test_the_report_leads_from_the_answer_to_a_rollout(opened, folder):
    with opened("report.html") as view:
        page = view.page
        assert page.locator(".answer p").count() == 2
        assert page.locator("figure").first.get_attribute("id") == "score_by_context"
        said = page.locator(".plot svg").evaluate_all("nodes => nodes.map((node) => node.getAttribute('aria-label'))")
        assert all(len(each) > 40 for each in said)
        page.locator("#why .card a").last.click()
        page.wait_for_selector("#detail[data-ready]")
        assert "✓" in page.inner_text("#detail h3")


@pytest.mark.parametrize(
    ("saved", "limit", "chosen"),
    [(range(1, 11), None, [*range(1, 11)]), (range(1, 11), 3, [4, 7, 10]), ([5, 9], 4, [5, 9]), ([], 2, [])],
)
def test_fewer_steps_are_evenly_spaced_and_hold_the_last(saved, limit, chosen):
    assert chosen_steps(saved, limit) == chosen


def test_texts_are_cut_into_chunks_that_no_rollout_straddles():
    assert chunks_of([400_000, 500_000, 200_000, 2_000_000, 1]) == [0, 0, 1, 2, 3]
    assert chunks_of([]) == []


def test_side_files_hold_base64_and_nothing_else(folder):
    files = list(folder.rglob("*.js"))
    assert len(files) > 6
    assert all(SIDE_FILE.fullmatch(file.read_text()) for file in files)
