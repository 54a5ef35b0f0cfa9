import re

import numpy as np
import pytest

from eebench.report import measures, style, svg


def test_inline_svg_keeps_text_and_gets_its_own_ids(tmp_path):
    with style.style():
        figure = style.new(3, 2)
        axes = figure.add_axes((0.2, 0.2, 0.7, 0.7))
        axes.plot([0, 1], [0, 0.123456], "o-", color="#1a1c21", gid="series-4")
        axes.set_title("A & <b> 0.123456")
        text = svg.save(figure, tmp_path, "plot")
    assert (tmp_path / "plot.svg").read_text() == text
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert "0.123456" in text  # coordinates are shortened, text is not
    classes = {}
    inlined = svg.inline(text, "plot", "f7", classes)
    assert inlined.startswith("<svg viewBox=")
    assert 'aria-labelledby="title-plot"' in inlined
    assert "A &amp; &lt;b&gt; 0.123456" in inlined
    assert 'class="s4"' in inlined
    assert not re.search(r"style=|xmlns|http|DejaVu", inlined)
    assert all(name.startswith("f7-") for name in re.findall(r'id="([^"]+)"', inlined))
    assert set(re.findall(r"#([\w-]+)[\")]", inlined)) == set(re.findall(r'id="([^"]+)"', inlined))
    assert any("var(--ink)" in declarations for declarations in classes)
    assert len(inlined) < len(text) / 2


def test_thinned_lines_keep_their_ends_and_points():
    line = np.stack([np.sort(np.random.default_rng(0).random(500)), np.arange(500)], 1)
    thin = style.thin(line, 40)
    assert len(thin) <= 40
    np.testing.assert_array_equal(thin[[0, -1]], line[[0, -1]])
    assert {tuple(p) for p in thin} <= {tuple(p) for p in line}
    assert style.thin(line[:10], 40) is not None
    np.testing.assert_array_equal(style.thin(line[:10], 40), line[:10])


def test_joined_lines_have_gaps():
    joined = style.joined([np.zeros((2, 2)), np.ones((3, 2))])
    assert joined.shape == (7, 2)
    assert np.isnan(joined).all(1).tolist() == [False, False, True, False, False, False, True]
    assert style.joined([]).shape == (0, 2)


@pytest.mark.parametrize(
    ("name", "title", "value", "text"),
    [
        ("speedup_at_drop_0.5", "× MACs at ≤ 0.5 pt", 1.234, "1.23×"),
        ("score_at_50", "score at 50 % MACs, ×100", 0.9123, "91.2"),
        ("gain_over_fixed_depth", "gain over fixed depth, pt", -0.0042, "−0.42"),
        ("hindsight_improvability", "hindsight improvability, %", 0.5, "50.0"),
        ("a_measure_of_tomorrow", "a measure of tomorrow", 0.123456, "0.1235"),
    ],
)
def test_summary_numbers(name, title, value, text):
    found = measures.measure(name)
    assert (found.title, found.write(value)) == (title, text)
    assert found.anytime == name.startswith("hindsight")


def test_dark_files_have_no_light_ink():
    text = "".join(f"fill: {colour};" for colour in svg.VARIABLES)
    assert not any(colour in svg.dark(text) for colour in svg.VARIABLES)


@pytest.mark.parametrize("medium", [style.PAGE, style.TEXT, style.COLUMN])
def test_figures_have_the_width_asked_for(medium):
    with style.style(medium):
        figure, panels = style.grid(medium, 11)
        assert figure.get_figwidth() == medium.width
        assert len(panels) == 11
        import matplotlib as mpl

        assert 7 <= mpl.rcParams["font.size"] <= 9.5


def test_pdf_has_its_fonts_and_no_date(tmp_path):
    with style.style(style.COLUMN):
        figure = style.new(3.3, 2)
        figure.add_axes((0.2, 0.2, 0.7, 0.7)).set_title("speed × 2")
        svg.save_pdf(figure, tmp_path, "plot")
    content = (tmp_path / "plot.pdf").read_bytes()
    assert b"/FontFile2" in content
    assert b"/Type3" not in content
    assert b"CreationDate" not in content
