"""The gallery shows the record's samples, says of each where it stopped and what was answered, and can be left out."""

import base64
import io
import re
from html import unescape

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from eebench.errors import UserError
from eebench.report import gallery, render
from eebench.report.frames import load
from eebench.report.scene import Scene
from tests.report.fake_run import write_run


@pytest.fixture
def plotless(monkeypatch):
    monkeypatch.setattr("eebench.report.writer._plots", lambda scene: {})


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("runs") / "images", 2, seeds=(0, 1), samples="images")


def shown(page):
    """(group, note, tile) of every sample in the page."""
    part = page[page.index('<section id="samples"') :]
    part = part[: part.index("</section>")]
    found = []
    for group in re.findall(r'<p class="group">(.*?)</p>\s*<ul>(.*?)</ul>', part, re.DOTALL):
        for item in re.findall(r"<li.*?</li>", group[1], re.DOTALL):
            tile = re.search(r'class="thumb t(\d+)"', item)
            note = unescape(re.search(r"<small>(.*?)</small>", item)[1])
            found.append((group[0], note, int(tile[1]) if tile else None))
    return found


def test_every_sample_of_the_record_is_there_with_its_own_picture(images, tmp_path, plotless):
    page = render(images, tmp_path / "report")["report.html"].read_text()
    table = pd.read_csv(images / "samples.csv")
    expected = [
        (f"Stop {row.stops}, {'right' if row.correct else 'wrong'}",
         f"block {row.exit}: {'7, 88 % sure' if row.correct else 'said 1, 88 % sure; is 7'}", row.tile)
        for row in table.itertuples()
    ]  # fmt: skip
    assert sorted(shown(page)) == sorted(expected)
    assert page.count("<details open><summary>") == 1  # one method is shown, the others on demand
    tiles = np.load(images / "samples.npz")["tiles"]
    uri = re.search(r"\.thumb\{background-image:url\(data:image/png;base64,([^)]+)\)", page)[1]
    sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri))))
    for tile in table["tile"]:
        row, column = divmod(int(tile), gallery.COLUMNS)
        np.testing.assert_array_equal(sheet[8 * row : 8 * row + 8, 8 * column : 8 * column + 8], tiles[int(tile)])
        at = re.search(rf"\.t{int(tile)}\{{background-position:([\d.]+)% ([\d.]+)%\}}", page)
        rows = sheet.shape[0] // 8
        assert float(at[1]) == pytest.approx(100 * column / 15, abs=0.01)
        assert float(at[2]) == pytest.approx(100 * row / (rows - 1), abs=0.01)
    assert "img-src data:" in page


def test_texts_are_quoted_and_escaped(tmp_path, plotless):
    run = write_run(tmp_path / "run", 1, samples="texts")
    page = render(run, tmp_path / "report")["report.html"].read_text()
    assert "<q>a &#34;text&#34; &amp; &lt;more&gt; of it, 00</q>" in page
    assert "img-src" not in page
    assert {tile for _, _, tile in shown(page)} == {None}


def test_no_samples_leaves_no_trace_of_them(images, tmp_path, plotless):
    files = render(images, tmp_path / "report", samples=False)
    page = files["report.html"].read_text()
    assert 'id="samples"' not in page
    assert "data:image" not in page
    assert "tables/samples.csv" not in files
    assert "samples.csv" not in page + files["report.md"].read_text()


def test_a_record_without_samples_has_no_gallery(three):
    assert gallery.gallery(Scene(load(three)), pictures=False) == []
    assert gallery.sheet(load(three)) is None


def test_regression_has_neither_right_nor_wrong(tmp_path):
    run = write_run(tmp_path / "run", 1, regression=True, samples="texts")
    table = pd.read_csv(run / "samples.csv")
    table.assign(correct=None, confidence=None, truth=2.5, answer=1.5).to_csv(run / "samples.csv", index=False)
    (section,) = gallery.gallery(Scene(load(run)), pictures=False)
    groups = section.blocks[1].blocks[0].groups
    assert [title for title, _ in groups] == ["Stop early", "Stop late"]
    assert {shot.note for _, shots in groups for shot in shots} == {
        "block 4: said 1.5; is 2.5", "block 12: said 1.5; is 2.5"
    }  # fmt: skip


@pytest.mark.parametrize("harm", ["garbage", "few", "floats"])
def test_damaged_thumbnails_are_one_line(tmp_path, harm):
    run = write_run(tmp_path / "run", 1, samples="images")
    if harm == "garbage":
        (run / "samples.npz").write_bytes(b"PK nothing")
    else:
        tiles = np.zeros((3, 8, 8), np.uint8) if harm == "few" else np.zeros((40, 8, 8))
        np.savez(run / "samples.npz", tiles=tiles)
    with pytest.raises(UserError, match=r"samples\.npz (cannot be read|does not hold)"):
        gallery.sheet(load(run))


def test_photos_fit_into_a_page(tmp_path):
    run = write_run(tmp_path / "run", 1, samples="images")
    noise = np.random.default_rng(0).integers(0, 256, (176, 48, 48, 3), dtype=np.uint8)  # the worst there is
    np.savez(run / "samples.npz", tiles=noise)
    assert len(gallery.sheet(load(run)).uri) < 1.4 * gallery.LARGEST
