import json
import re
import subprocess
import sys
from html import unescape
from html.parser import HTMLParser

import pandas as pd
import pytest

from eebench.errors import UserError
from eebench.report import pages, render
from eebench.report.derive import compare
from eebench.report.frames import load
from eebench.report.scene import Scene
from eebench.schema import TABLES
from tests.report.fake_run import write_run

TITLES = [
    "The answer", "Comparison", "What does a budget buy?", "Score against cost", "Claimed against measured",
    "Exit by exit", "Thresholds", "Where the compute goes", "Calibration", "Failures, skips and noise", "Provenance",
    "For your paper", "Definitions",
]  # fmt: skip
FIGURES = (
    "overview_macs", "methods_macs", "overview_cpu", "methods_cpu", "claimed", "exit_shares", "exit_scores",
    "exit_latency_cpu", "cost_breakdown", "reliability",
)  # fmt: skip


@pytest.fixture
def paperless(monkeypatch):
    """Figures for a page only."""
    monkeypatch.setattr("eebench.report.writer.PAPER", ())


@pytest.fixture
def plotless(monkeypatch):
    """Plots take nearly all of the time; what is not about them goes without."""
    monkeypatch.setattr("eebench.report.writer._plots", lambda scene: {})


def titles(report):
    return re.findall(r"<h2>(.*?) <a", report["report.html"].read_text())


def test_what_is_written(report, three):
    for name in ("report.html", "report.md"):
        assert report[name].is_file()
    figures = {name for name in report if name.startswith("figures/")}
    expected = {
        f"figures/{name}{end}" for name in FIGURES for end in (".svg", ".png", "-6.9in.pdf", "-3.3in.pdf")
    }  # fmt: skip
    assert figures == expected | {f"figures/overview_{cost}-dark.svg" for cost in ("macs", "cpu")}
    for table in ("curves", "exits", "operating_points", "latency", "summary", "reliability", "conformal"):
        written = pd.read_csv(report[f"tables/{table}.csv"], dtype=str, keep_default_na=False)
        whose = written[["run", "backbone", "dataset"]].drop_duplicates()
        run = json.loads((three / "run.json").read_text())
        assert whose.values.tolist() == [[run["run"], run["backbone"]["name"], run["data"]["name"]]]
        recorded = pd.read_csv(three / f"{table}.csv", dtype=str, keep_default_na=False)
        pd.testing.assert_frame_equal(written.iloc[:, 3:], recorded)
    assert {"tables/comparison.csv", "tables/comparison.tex", "tables/papers.bib"} <= set(report)


def test_sections_follow_the_readers_questions(report):
    assert titles(report) == TITLES


def test_the_first_screen_is_the_answer(report, three):
    found = Scene(load(three)).answer
    page = unescape(report["report.html"].read_text())
    first = page.index('class="sentence')
    assert page.index(found.sentence) < page.index(found.trust) < page.index('id="figure-overview_cpu"')
    assert page[: page.index("<h2>Comparison")].count("<table") == 0
    assert len(re.sub(r"<[^>]+>", " ", page[page.index("<body>") : first]).split()) < 60


def test_links_lead_to_files(report):
    page, folder = report["report.html"].read_text(), report["report.html"].parent
    links = re.findall(r'href="((?:figures|tables)/[^"]+)" download', page)
    assert len(links) > 4 * len(FIGURES)
    assert all((folder / link).is_file() for link in links)
    for name in FIGURES:
        for end in (".svg", "-6.9in.pdf", "-3.3in.pdf"):
            assert f"figures/{name}{end}" in links
    for name in ("curves.csv", "comparison.csv", "comparison.tex", "papers.bib"):
        assert f"tables/{name}" in links


def test_comparison_csv_is_the_comparison(report, three):
    written = pd.read_csv(report["tables/comparison.csv"])
    expected = compare(load(three))
    pd.testing.assert_frame_equal(written[["score", "drop", "speedup_cpu"]], expected[["score", "drop", "speedup_cpu"]])
    assert list(written["label"]) == list(expected["label"])


def test_same_record_same_bytes(tmp_path, monkeypatch):
    from eebench.report import writer

    every = writer._plots
    monkeypatch.setattr(writer, "_plots", lambda scene: dict(list(every(scene).items())[:2]))
    run = write_run(tmp_path / "run", 1, seeds=(0,))
    first, again = render(run, tmp_path / "first"), render(run, tmp_path / "again")
    assert again.keys() == first.keys()
    for name, path in again.items():
        assert path.read_bytes() == first[name].read_bytes(), name


def test_several_seeds_and_one_are_told_apart(report, tmp_path, plotless):
    several = report["report.html"].read_text()
    one = render(write_run(tmp_path / "run", 1, seeds=(0,)), tmp_path / "report")["report.html"].read_text()
    assert "± the standard deviation over seeds" in several
    assert "One seed, 400 test samples" in one
    assert " ± " not in re.sub(r"<script.*?</script>", "", one, flags=re.DOTALL)
    assert 'data-help="seeds that finished"' in several
    assert "seeds that finished" not in one


def test_gpu_columns_only_where_there_was_one(report, large_report):
    assert "× GPU" not in report["report.html"].read_text()
    assert "× GPU" in large_report["report.html"].read_text()
    assert "figures/overview_gpu.svg" in large_report
    assert "figures/exit_latency_cuda.svg" in large_report


def test_failures_and_noise_are_in_it(report):
    page = report["report.html"].read_text()
    assert "loss became NaN in phase &#39;joint&#39;, epoch 3" in page
    assert "needs a text backbone" in page
    assert "3 of 8 cells have no result." in page
    assert re.search(r"1 of \d+ timings are noisy", page)


def test_names_from_outside_are_escaped(large_report):
    page, text = large_report["report.html"].read_text(), large_report["report.md"].read_text()
    assert "Mine &amp; &lt;yours&gt;" in page
    assert "<yours>" not in page
    assert "<yours>" not in text


def test_a_large_report_stays_small(large_report):
    assert large_report["report.html"].stat().st_size < 1_500_000


class Page(HTMLParser):
    """Ids, references, open tags and links of a page."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.references, self.links, self.open, self.attributes = [], [], [], [], set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.attributes |= set(values)
        if "id" in values:
            self.ids.append(values["id"])
        if values.get("href", "").startswith("#"):
            self.references.append(values["href"][1:])
        elif "href" in values:
            self.links.append((tag, values["href"]))
        if "src" in values:
            self.links.append((tag, values["src"]))
        self.references += values.get("aria-labelledby", "").split()
        self.references += re.findall(r"url\(#([^)]+)\)", " ".join(v or "" for v in values.values()))
        if tag not in {"meta", "input", "br", "link", "img", "hr"}:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, tag


@pytest.mark.parametrize("which", ["report", "large_report"])
def test_the_page_is_whole_and_loads_nothing(which, request):
    text = request.getfixturevalue(which)["report.html"].read_text()
    page = Page(text)
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    assert set(page.references) <= set(page.ids)
    # Citations and files may be followed by a reader; nothing is fetched by the page.
    assert {tag for tag, _ in page.links} == {"a"}
    assert all(link.startswith(("https://arxiv.org/", "figures/", "tables/")) for _, link in page.links)
    own = re.sub(r"<a [^>]*>.*?</a>", "", text, flags=re.DOTALL)
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", own)
    assert not re.search(r"@import|url\((?!#|data:image/)|\bimport\b\s*[('\"]|\bfetch\(|XMLHttpRequest", own)
    assert "style" not in page.attributes  # the policy forbids inline styles
    assert not any(name.startswith("on") for name in page.attributes)


def test_policy_allows_just_this_style_and_script(report):
    import base64
    import hashlib

    text = report["report.html"].read_text()
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)[1].replace("&#39;", "'")
    assert policy.startswith("default-src 'none'; ")
    for tag in ("style", "script"):
        allowed = set(re.search(rf"{tag}-src ([^;]+);", policy)[1].split())
        contents = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        assert contents
        digests = {f"'sha256-{base64.b64encode(hashlib.sha256(c.encode()).digest()).decode()}'" for c in contents}
        # The plotting library's own style element and the two unpacked libraries, each by its text.
        extra = {"style": 1, "script": 2}[tag]
        assert digests <= allowed
        assert len(allowed) == len(digests) + extra
    assert "unsafe" not in policy


def test_without_script_every_target_stands_in_the_page(report):
    text = report["report.html"].read_text()
    assert text.count("data-choice=") == 4
    still = re.sub(r"<(script|style)[^>]*>.*?</\1>", "", text, flags=re.DOTALL)
    assert re.findall(r"<[^>]* hidden[^>]*>", still) == ['<div id="explore" hidden>']


def test_regression(tmp_path, paperless):
    files = render(write_run(tmp_path / "run", 2, seeds=(0, 1), regression=True), tmp_path / "report")
    page = files["report.html"].read_text()
    assert "mean of Pearson and Spearman correlation" in page
    assert "ECE, %" not in re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    assert "figures/reliability.svg" not in files
    assert "Circles:" not in page


def test_what_was_not_measured_is_not_mentioned(tmp_path, paperless):
    run = write_run(tmp_path / "run", 1, seeds=(0,), troubles=False, extras=False)
    files = render(run, tmp_path / "report")
    assert titles(files) == [title for title in TITLES if title != "Calibration"]
    page = files["report.html"].read_text()
    assert "nothing failed, nothing was skipped" in page
    assert "Single numbers" not in page
    assert "other methods" not in page


def test_untimed_run(tmp_path, paperless):
    run = write_run(tmp_path / "run", 2, seeds=(0,), extras=False)
    for name, columns in (("operating_points", "speedup_cpu"), ("latency", None)):
        frame = pd.read_csv(run / f"{name}.csv")
        frame = frame.iloc[:0] if columns is None else frame.assign(**{c: None for c in frame if columns in c})
        frame.to_csv(run / f"{name}.csv", index=False)
    files = render(run, tmp_path / "report")
    page = files["report.html"].read_text()
    assert "Nothing was timed; speed here is by MACs." in page
    assert "Nothing was timed." in page
    assert "figures/overview_cpu.svg" not in files
    assert "figures/overview_macs.svg" in files


def test_a_run_in_which_everything_failed(tmp_path):
    run = write_run(tmp_path / "run", 1, seeds=(0,), extras=False)
    for name in ("curves", "exits", "operating_points", "latency"):
        frame = pd.read_csv(run / f"{name}.csv")
        frame[frame["method"] == "backbone"].to_csv(run / f"{name}.csv", index=False)
    text = (run / "run.json").read_text().replace('"status": "done",\n   "reason": null', '"status": "failed"')
    (run / "run.json").write_text(text)
    files = render(run, tmp_path / "report")
    assert not any(name.startswith("figures/") for name in files)
    assert "Cannot tell: no method has a result" in files["report.html"].read_text()
    assert "loss became NaN" not in files["report.html"].read_text()
    assert titles(files)[0] == TITLES[0]


def test_energy_where_it_was_measured(tmp_path, plotless):
    run = write_run(tmp_path / "run", 1, seeds=(0,), extras=False)
    rows = [
        {"method": "backbone", "seed": 0, "path": "plain", "batch_size": 1, "joules": 3.0},
        {"method": "pabee", "seed": 0, "path": "drop_1", "batch_size": 1, "joules": 2.0},
    ]
    pd.DataFrame(rows, columns=list(TABLES["energy"])).to_csv(run / "energy.csv", index=False)
    page = render(run, tmp_path / "report")["report.html"].read_text()
    assert re.search(r'id="energy".*1\.50×.*</table>', page, re.DOTALL)


def test_the_old_report_stays_when_a_new_one_fails(three, tmp_path, monkeypatch, plotless):
    out = tmp_path / "reports" / "run"
    render(write_run(tmp_path / "run", 1, seeds=(0,)), out)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}

    def fail(*of):
        raise RuntimeError("no Markdown today")

    monkeypatch.setattr("eebench.report.writer.markdown", fail)
    with pytest.raises(RuntimeError, match="no Markdown"):
        render(three, out)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    assert [path.name for path in out.parent.iterdir()] == ["run"]


def test_a_new_report_replaces_the_old_one_whole(tmp_path, plotless):
    out = tmp_path / "reports" / "run"
    render(write_run(tmp_path / "run", 1, seeds=(0,)), out)
    assert (out / "tables" / "conformal.csv").exists()
    (tmp_path / "run" / "conformal.csv").unlink()
    files = render(tmp_path / "run", out)
    assert not (out / "tables" / "conformal.csv").exists()
    assert all(path.is_file() for path in files.values())
    assert [path.name for path in out.parent.iterdir()] == ["run"]
    assert out.stat().st_mode & 0o755 == 0o755


def test_nothing_of_the_users_is_overwritten(tmp_path, three):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("years")
    with pytest.raises(UserError, match=r"holds thesis\.tex, which is no part of a report"):
        render(three, tmp_path / "home")
    with pytest.raises(UserError, match="is a file"):
        render(three, tmp_path / "home" / "thesis.tex")
    with pytest.raises(UserError, match="cannot be written to"):
        render(three, tmp_path / "home" / "thesis.tex" / "report")
    with pytest.raises(UserError, match="no part of a report"):
        render(three, three)
    assert (tmp_path / "home" / "thesis.tex").read_text() == "years"


def test_no_torch_and_nothing_heavy_until_called(tmp_path):
    code = (
        "import sys; import eebench.report\n"
        "assert not {'pandas', 'matplotlib', 'jinja2', 'numpy'} & set(sys.modules), sorted(sys.modules)\n"
        "from pathlib import Path; eebench.report.render(Path(sys.argv[1]), Path(sys.argv[2]))\n"
        "assert not {'torch', 'timm', 'transformers', 'eebench.runs', 'eebench.engine'} & set(sys.modules)\n"
    )
    run = write_run(tmp_path / "run", 1, seeds=(0,), extras=False)
    subprocess.run([sys.executable, "-c", code, str(run), str(tmp_path / "out")], check=True)


def test_render_can_be_called_again(three, tmp_path, plotless):
    import eebench.report

    for name in ("one", "two"):
        assert "report.html" in eebench.report.render(three, tmp_path / name)


def test_vendored_libraries_are_the_released_files():
    import hashlib

    readme = (pages.HERE / "vendor" / "README.md").read_text()
    for name in pages.LIBRARIES:
        digest = hashlib.sha256((pages.HERE / "vendor" / name).read_bytes()).hexdigest()
        assert f"| `{name}` |" in readme
        assert digest in readme
    licence = (pages.HERE / "vendor" / "LICENSE.txt").read_text()
    assert licence.count("Permission to use, copy, modify") == 2


def test_what_the_page_is_made_of_is_package_data():
    import fnmatch
    import tomllib

    data = tomllib.loads((pages.HERE.parents[1] / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    files = [p.relative_to(pages.HERE).as_posix() for p in pages.HERE.rglob("*") if p.suffix not in {".py", ".pyc"}]
    patterns = [*data["*"], *data["eebench.report"]]
    for name in files:
        if "/" in name and "__pycache__" not in name:
            assert any(fnmatch.fnmatch(name, pattern) for pattern in data["eebench.report"]), name
        elif (pages.HERE / name).is_file():
            assert any(fnmatch.fnmatch(name, pattern) for pattern in patterns), name


def test_scripts_are_small():
    sizes = [path.stat().st_size for path in (pages.HERE / "js").glob("*.js")]
    assert len(sizes) == 6
    assert sum(sizes) < 40_000
