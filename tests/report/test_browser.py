"""The page as a reader meets it: headless Chromium over a simulated run and both reference records.

Skipped where there is no Chromium, no Playwright or no axe.
"""

import csv
import io
import math
import re
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from eebench.report import render
from eebench.report.frames import load
from tests.report.test_explorer import at_budget, at_drop

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--no-sandbox --disable-gpu --disable-background-networking --disable-component-update --disable-sync"
    " --no-first-run"
).split()
REFERENCE = Path(__file__).parents[2] / "results" / "reference"
RECORDS = sorted(path.parent.name for path in REFERENCE.glob("*/run.json"))

playwright = pytest.importorskip("playwright.sync_api", reason="there is no Playwright here")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="there is no axe here")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        made = driver.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS)
        yield made
        made.close()


@pytest.fixture(scope="module")
def pages(large_report, texts, chance, tmp_path_factory):
    """Path of the page by name: the simulated runs, and the reference records."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("eebench.report.writer.PAPER", ())
        folder = tmp_path_factory.mktemp("pages")
        runs = {name: REFERENCE / name for name in RECORDS} | {"texts": texts, "chance": chance}
        made = {name: render(run, folder / name)["report.html"] for name, run in runs.items()}
    return made | {"twelve": large_report["report.html"]}


@pytest.fixture
def visit(browser, pages):
    """Opens a page; at the end no message may stand on its console."""
    contexts, said = [], []

    def opened(name="twelve", width=1280, scheme="light", after="", script=True):
        context = browser.new_context(
            viewport={"width": width, "height": 800}, color_scheme=scheme, java_script_enabled=script
        )
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: said.append(request.url) if not request.url.startswith("file:") else None)
        page.goto(pages[name].as_uri() + after)
        if script:
            page.wait_for_selector("#explored")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert said == []


def column(page, table, name):
    """Sort values of one column's visible rows, as numbers; the first body only."""
    return page.evaluate(
        """([id, name]) => {
            const table = document.getElementById(id);
            const i = [...table.tHead.rows[0].cells].findIndex((th) => th.querySelector(".sort").textContent === name);
            const rows = [...table.tBodies[0].rows].filter((row) => !row.hidden);
            return rows.map((row) => parseFloat(row.cells[i].dataset.v));
        }""",
        [table, name],
    )


def rows(page, table):
    return page.locator(f"#{table} tbody tr:not([hidden]):not(.head)").all_inner_texts()


@pytest.mark.parametrize(
    ("name", "width", "scheme"),
    [
        *(("twelve", width, scheme) for width in (1280, 390) for scheme in ("light", "dark")),
        *((name, *look) for name in (*RECORDS, "texts", "chance") for look in ((1280, "light"), (390, "dark"))),
    ],
)
def test_no_serious_finding_and_no_sideways_scrolling(visit, name, width, scheme):
    page = visit(name, width, scheme)
    page.evaluate("() => { for (const fold of document.querySelectorAll('details')) fold.open = true; }")
    found = axe.Axe().run(page).response["violations"]
    serious = [
        (v["id"], v["impact"], v["nodes"][0]["html"][:200]) for v in found if v["impact"] in ("serious", "critical")
    ]
    assert serious == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", [*RECORDS, "twelve", "texts", "chance"])
def test_the_first_screen_has_answer_trust_and_plot(visit, name, width):
    page = visit(name, width)
    tops = [
        page.locator(selector).first.bounding_box()["y"] for selector in (".sentence", ".trust", "#answer .plot svg")
    ]
    assert tops == sorted(tops)
    assert tops[2] < 800 - 150
    box = page.locator("#answer .plot svg").bounding_box()
    if width == 1280:
        assert box["y"] + box["height"] <= 830


def test_twelve_rows_and_all_on_demand(visit):
    page = visit()
    assert len(rows(page, "comparison-drop_1")) == 12
    page.get_by_role("button", name=re.compile("all 16 rows and bounds")).click()
    assert len(rows(page, "comparison-drop_1")) == 16 + 12  # with every method's oracle
    assert "all=1" in page.url
    page.reload()
    assert len(rows(page, "comparison-drop_1")) == 28


def test_first_click_on_a_speed_up_sorts_from_fast_to_slow(visit):
    page = visit(after="#comparison?all=1")
    head = page.locator("#comparison-drop_1 thead th", has_text="× MACs")
    head.locator(".sort").click()
    values = column(page, "comparison-drop_1", "× MACs")
    assert len(values) > 4
    assert values == sorted(values, reverse=True)
    assert head.get_attribute("aria-sort") == "descending"
    head.locator(".sort").click()
    assert column(page, "comparison-drop_1", "× MACs") == sorted(values)
    page.reload()
    assert column(page, "comparison-drop_1", "× MACs") == sorted(values)  # the address remembers
    head.locator(".sort").click()
    assert head.get_attribute("aria-sort") == "none"
    page.locator("#comparison-drop_1 thead th", has_text="MMACs").locator(".sort").click()
    costs = column(page, "comparison-drop_1", "MMACs")
    assert costs == sorted(costs)


def test_filter_columns_targets_and_baselines(visit):
    page = visit()
    page.locator("#filter").fill("bee, sdn")
    names = [text.split("\n")[0].strip() for text in rows(page, "comparison-drop_1")]
    assert sum("plain backbone" in text for text in rows(page, "comparison-drop_1")) == 1
    assert all(any(word in text for word in ("plain", "PABEE", "SDN")) for text in rows(page, "comparison-drop_1")), (
        names
    )
    page.locator("#filter").fill("")
    assert not page.locator("#comparison-drop_1 th", has_text="ECE, %").is_visible()
    page.locator(".table:not([hidden]) .tools summary", has_text="Columns").first.click()
    page.locator(".table:not([hidden]) .tools label", has_text="ECE, %").first.locator("input").check()
    assert page.locator("#comparison-drop_1 th", has_text="ECE, %").is_visible()
    page.locator("#target").select_option("at most 50 % of the MACs")
    assert page.locator("#comparison-macs_50").is_visible()
    assert page.locator("#comparison-macs_50 th", has_text="ECE, %").is_visible()
    assert not page.locator("#comparison-drop_1").is_visible()
    before = len(rows(page, "comparison-macs_50"))
    page.locator("#comparison-macs_50 .fold:visible").first.click()
    assert len(rows(page, "comparison-macs_50")) == before + 2  # its fixed depth and random exits
    for key in ("target=", "columns=", "filter"):
        assert (key in page.url) == (key != "filter")


def test_explanations_open_by_click_and_by_key(visit):
    page = visit(width=390)
    why = page.locator("#comparison-drop_1").get_by_role("button", name="What is × MACs?")
    why.focus()
    page.keyboard.press("Enter")
    assert "every head and gate charged" in page.locator(".help", has_text="× MACs:").inner_text()
    why.click()
    assert page.locator(".help", has_text="× MACs:").count() == 0


def test_copying_as_csv_copies_numbers(visit, pages):
    page = visit()
    page.evaluate("() => { navigator.clipboard.writeText = async (text) => { window.copied = text; }; }")
    page.locator(".table:not([hidden]) .tools button", has_text="CSV").first.click()
    page.wait_for_function("window.copied !== undefined")
    head, *body = csv.reader(io.StringIO(page.evaluate("window.copied")))
    assert head[0] == "Method"
    numeric = [i for i, name in enumerate(head) if name.startswith(("×", "Score", "Δ", "MMACs"))]
    assert len(numeric) >= 6
    for row in body:
        for i in numeric:
            assert row[i] == "" or math.isfinite(float(row[i])), row[i]
    comparison = pd.read_csv(pages["twelve"].parent / "tables" / "comparison.csv").query("target == 'drop_1'")
    known = dict(
        zip(
            comparison["label"].where(comparison["kind"].isin(["plain", "dynamic"])),
            comparison["speedup_macs"],
            strict=True,
        )
    )
    index = head.index("× MACs")
    checked = [row for row in body if row[0].removesuffix(" †") in known]
    assert len(checked) > 8
    for row in checked:
        assert float(row[index]) == pytest.approx(known[row[0].removesuffix(" †")], rel=1e-5)


def test_hovering_a_plot_says_what_is_there(visit, pages):
    page = visit()
    plot = page.locator("[data-plot=overview_gpu]")
    plot.scroll_into_view_if_needed()
    point = page.evaluate(
        """() => {
            const [x, y, text] = JSON.parse(document.getElementById("tips").textContent).overview_gpu[0];
            const svg = document.querySelector("[data-plot=overview_gpu] svg");
            const place = new DOMPoint(x, y).matrixTransform(svg.getScreenCTM());
            return [place.x, place.y, text];
        }"""
    )
    page.mouse.move(point[0] + 2, point[1])
    tip = page.locator(".tip")
    assert tip.is_visible()
    label, knob, score, ms, *_ = tip.inner_text().split(" · ")
    table = pd.read_csv(pages["twelve"].parent / "tables" / "comparison.csv")
    mine = table[(table["label"] == label) & (table["kind"] == "dynamic")]
    assert any(
        f"{100 * s:.1f} %" == score and f"{m:.2f}" in ms
        for s, m in zip(mine["score"], mine["gpu_mean_ms"], strict=True)
    )
    assert knob.startswith("threshold ")
    page.mouse.move(5, 5)
    assert not tip.is_visible()
    plot.focus()
    page.keyboard.press("ArrowRight")
    assert tip.is_visible()
    page.keyboard.press("Escape")
    assert not tip.is_visible()


def chosen(record, method, kind, amount):
    """What the protocol chooses, seed by seed, from the record alone: score, cost, knob; None where nothing fits."""
    found = []
    for _, plain in record.val("plain").iterrows():
        val = record.val("dynamic")
        val = val[(val["method"] == method) & (val["seed"] == plain["seed"])]
        if val.empty:
            continue
        if kind == "drop":
            i = at_drop(val["gmacs"], val["score"], plain["score"], amount / 100)
        else:
            i = at_budget(val["gmacs"], val["score"], amount / 100 * plain["gmacs"])
        if i is None:
            return None
        knob = val["knob"].iloc[i]
        test = record.test("dynamic")
        test = test[(test["method"] == method) & (test["seed"] == plain["seed"]) & (test["knob"] == knob)].iloc[0]
        found.append((test["score"], test["gmacs"], knob))
    return np.array(found)


@pytest.mark.parametrize("name", [*RECORDS, "twelve"])
@pytest.mark.parametrize(("kind", "amount"), [("drop", 2.5), ("macs", 60)])
def test_the_explorer_shows_what_the_tables_hold(visit, pages, name, kind, amount, twelve):
    page = visit(name)
    record = load(twelve if name == "twelve" else REFERENCE / name)
    page.locator("#kind").select_option(kind)
    page.locator("#amount").fill(str(amount))
    assert f"budget={kind}_{amount}" in page.url
    digits = 2 if record.run["data"]["n_test"] >= 10_000 else 1
    seen = Counter()
    for method in record.methods:
        cells = page.locator(f'#explored tr[data-method="{method}"] td').all_inner_texts()
        expected = chosen(record, method, kind, amount)
        if expected is None:
            assert cells == ["nothing fits on validation data"], method
            seen["none"] += 1
            continue
        score, cost, _ = expected.mean(0)
        assert float(cells[1].split(" ±")[0]) == pytest.approx(100 * score, abs=0.501 * 10**-digits), method
        assert float(cells[3]) == pytest.approx(cost * (1000 if record.run["backbone"]["gmacs"] < 1 else 1), rel=2e-3)
        low, high = expected[:, 2].min(), expected[:, 2].max()
        shown = [float(v.replace("−", "-")) for v in re.findall(r"−?\d[\d.]*(?:e-?\d+)?", cells[0].split(" ", 1)[1])]
        assert shown[0] == pytest.approx(low, rel=1e-3, abs=1e-9)
        assert shown[-1] == pytest.approx(high, rel=1e-3, abs=1e-9)
        seen["some"] += 1
    assert seen["some"] >= 2


def test_dragging_the_budget_and_coming_back(visit):
    page = visit()
    slider = page.locator("#budget")
    before = page.locator("#explored").inner_text()
    slider.focus()
    for _ in range(20):
        page.keyboard.press("ArrowRight")
    after = page.locator("#explored").inner_text()
    assert after != before
    assert page.locator("#amount").input_value() == "3"
    assert "budget=drop_3" in page.url
    page.locator("#x").select_option("share")
    page.locator("#y").select_option("lost")
    page.locator("nav summary").click()
    page.locator("nav a", has_text="Provenance").click()
    assert "#provenance?" in page.url
    assert "budget=drop_3" in page.url  # what was set survives following a link
    page.reload()
    page.wait_for_selector("#explored")
    assert page.locator("#explored").inner_text() == after
    assert (page.locator("#x").input_value(), page.locator("#y").input_value()) == ("share", "lost")


def test_milliseconds_buy_only_what_was_timed(visit, twelve):
    page = visit()
    record = load(twelve)
    page.locator("#kind").select_option("ms")
    page.locator("#amount").fill("1.5")
    points = record.points[record.points["kind"] == "dynamic"]
    times = record.single[record.single["device"] == "cuda"].set_index(["method", "seed", "path"])["mean_ms"]
    for method in ("ztw", "pabee"):
        best = []
        for seed in (0, 1, 2):
            mine = points[(points["method"] == method) & (points["seed"] == seed)]
            ms = np.array([times[(method, seed, target)] for target in mine["target"]])
            fits = mine[ms <= 1.5].assign(ms=ms[ms <= 1.5]).sort_values(["val_score", "ms"], ascending=[False, True])
            best.append(fits.iloc[0] if len(fits) else None)
        cells = page.locator(f'#explored tr[data-method="{method}"] td').all_inner_texts()
        if any(row is None for row in best):
            assert cells == ["nothing fits on validation data"]
        else:
            assert float(cells[3]) == pytest.approx(np.mean([row["ms"] for row in best]), abs=0.006)


def test_methods_can_be_left_out_and_stay_out(visit):
    page = visit()
    count = page.locator("#explored tbody tr").count()
    page.locator("#explore .chip", has_text="PABEE").locator("input").uncheck()
    assert page.locator("#explored tbody tr").count() == count - 1
    assert "without=pabee" in page.url


def test_theme_is_switched_and_remembered(visit):
    page = visit(scheme="light")
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.locator("#theme").select_option("dark")
    dark = page.evaluate(ground)
    assert dark != light
    page.reload()
    assert page.evaluate(ground) == dark
    page.locator("#theme").select_option("auto")
    assert page.evaluate(ground) == light
    assert "theme" not in page.url


def test_a_permalink_opens_what_it_points_to(visit):
    page = visit(after="#exit-scores")
    assert page.locator("#exit-scores").is_visible()
    box = page.locator("#exit-scores").bounding_box()
    assert -50 < box["y"] < 800
    page.locator("#figure-claimed h3").hover()
    page.locator("#figure-claimed .anchor").click()
    assert page.url.endswith("#figure-claimed")
    page.go_back()
    assert page.url.endswith("#exit-scores")


def test_without_script_the_tables_stand_in(visit):
    page = visit(script=False)
    assert page.locator(".fallback").is_visible()
    assert page.locator("#comparison-macs_25").is_visible()
    assert not page.locator("#explore").is_visible()


def test_a_plot_scrolls_inside_its_box_on_a_phone(visit):
    page = visit(width=390)
    plot = page.locator("[data-plot=overview_gpu]")
    assert plot.evaluate("(box) => box.scrollWidth > box.clientWidth")
    assert plot.get_attribute("tabindex") == "0"
    plot.focus()
    for _ in range(30):
        page.keyboard.press("ArrowRight")
    assert plot.evaluate("(box) => box.scrollLeft") > 0


def test_paper_has_every_method(visit):
    page = visit()
    page.emulate_media(media="print")
    printed = page.locator("#comparison-drop_1 tbody tr:visible").all_inner_texts()
    for label in page.evaluate("JSON.parse(document.getElementById('data').textContent).methods.map((m) => m.label)"):
        assert any(text.startswith(label) for text in printed), label
    assert not page.locator("#comparison-macs_50").is_visible()
    assert page.locator("#comparison > p").first.is_visible()  # what the signs mean
    assert not page.locator("#answer figcaption .more").is_visible()


def test_paper_without_script_has_one_target(visit):
    page = visit(script=False)
    page.emulate_media(media="print")
    assert page.locator("#comparison-drop_1").is_visible()
    assert not page.locator("#comparison-macs_50").is_visible()


def test_samples_are_shown_with_their_pictures(visit):
    page = visit(after="#samples")
    thumbs = page.locator("#samples details[open] .thumb")
    assert thumbs.count() == 8
    box = thumbs.first.bounding_box()
    assert box["width"] == pytest.approx(box["height"])
    assert "test sample 0, stopped behind block 4" in thumbs.first.get_attribute("aria-label")
    # Two thumbnails are two places of the same sheet, and the sheet has loaded: pixels differ from the page's ground.
    looks = thumbs.evaluate_all("(all) => all.map((one) => getComputedStyle(one).backgroundPosition)")
    assert len(set(looks)) == 8
    from PIL import Image

    shot = np.asarray(Image.open(io.BytesIO(thumbs.first.screenshot())).convert("L"))
    assert shot.std() > 20


@pytest.mark.parametrize("name", [*RECORDS, "twelve", "texts", "chance"])
def test_it_prints_on_two_pages(visit, name, tmp_path):
    page = visit(name)
    page.pdf(path=tmp_path / "page.pdf", format="A4")
    content = (tmp_path / "page.pdf").read_bytes()
    count = max(map(int, re.findall(rb"/Type\s*/Pages\b[^>]*?/Count\s+(\d+)", content) or [b"0"]))
    count = count or len(re.findall(rb"/Type\s*/Page\b(?!s)", content))
    assert count == 2
