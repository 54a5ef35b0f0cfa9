"""Figures drop into a paper: their width is the column's, their type is what journals print, their fonts are inside."""

import re
import shutil
import subprocess

import matplotlib.text
import pytest

from eebench.report import overview, writer
from eebench.report.lines import Lines
from eebench.report.style import COLUMN, PAGE, SMALLEST, TEXT, style

PDFFONTS = shutil.which("pdffonts")


@pytest.mark.parametrize("medium", [COLUMN, TEXT], ids=lambda medium: medium.name)
def test_type_is_seven_to_eight_points_and_nothing_is_cut_off(scene, medium):
    with style(medium):
        for name, draw in writer._plots(scene).items():
            figure = draw(medium).figure
            figure.canvas.draw()
            assert figure.get_figwidth() == pytest.approx(medium.width), name
            page = figure.bbox
            for text in figure.findobj(matplotlib.text.Text):
                if not text.get_text() or not text.get_visible():
                    continue
                assert SMALLEST <= text.get_fontsize() <= 8, (name, text.get_text())
            for legend in figure.legends:
                for text in legend.get_texts():
                    box = text.get_window_extent()
                    assert box.x1 <= page.x1 + 1, (name, text.get_text())
                    assert box.y0 >= page.y0 - 1, (name, text.get_text())
                    assert box.y1 <= page.y1 + 1, (name, text.get_text())


@pytest.mark.parametrize("medium", [PAGE, COLUMN, TEXT], ids=lambda medium: medium.name)
def test_the_overviews_legend_has_room_for_everything(large, medium):
    with style(medium):
        figure = overview.overview(large, Lines(large), "cpu", medium).figure
        figure.canvas.draw()
    (legend,) = figure.legends
    texts = [text.get_text() for text in legend.get_texts()]
    assert {"plain backbone", "static models", "Pareto front", "± std over seeds", "the answer"} <= set(texts)
    assert all(text.get_window_extent().x1 <= figure.bbox.x1 + 1 for text in legend.get_texts())
    assert legend.get_window_extent().y1 <= figure.axes[0].xaxis.label.get_window_extent().y0 + 1


def test_pages_of_the_files_have_these_widths(report):
    for medium in (COLUMN, TEXT):
        files = [path for name, path in report.items() if name.endswith(f"-{medium.name}.pdf")]
        assert len(files) == 10
        for path in files:
            box = re.search(rb"/MediaBox \[ ?0 0 ([\d.]+) ([\d.]+) ?\]", path.read_bytes())
            assert float(box[1]) == pytest.approx(72 * medium.width, abs=0.1), path.name


@pytest.mark.skipif(PDFFONTS is None, reason="there is no pdffonts (poppler-utils) here")
def test_every_font_is_embedded(report):
    files = [path for name, path in report.items() if name.endswith(".pdf")]
    assert len(files) == 20
    for path in files:
        listed = subprocess.run([PDFFONTS, str(path)], capture_output=True, text=True, check=True).stdout.splitlines()[
            2:
        ]
        assert listed, path.name
        for line in listed:
            assert re.search(r"TrueType +\S+ +yes +yes", line), (path.name, line)
