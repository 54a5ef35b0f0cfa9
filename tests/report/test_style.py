import re
from pathlib import Path

import numpy as np
import pytest

import eebench.report.style as look
from eebench.report import measures, pages


def luminance(colour):
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


def contrast(a, b):
    """WCAG 2.2, 1.4.3."""
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


def schemes():
    css = (Path(look.__file__).parent / "report.css").read_text()
    light, dark = (
        dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block))
        for block in re.findall(r":root \{(.*?)\}", css, re.DOTALL)[:2]
    )
    return {"light": light, "dark": dark}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read(scheme):
    colours = schemes()[scheme]
    for ink in ("ink", "muted", "link"):
        for ground in ("paper", "raised"):
            assert contrast(colours[ink], colours[ground]) >= 4.5, (ink, ground)
    assert contrast(colours["note-ink"], colours["note"]) >= 4.5
    assert contrast(colours["blue"], colours["paper"]) >= 3


def test_plots_use_the_pages_own_colours():
    light = schemes()["light"]
    for value, variable in look._VARIABLES.items():
        assert light[variable.removeprefix("--")].lower() == value.lower()


def test_methods_can_be_told_apart_without_colour():
    methods = [f"m{i}" for i in range(12)]
    series = look.palette(methods, {m: m for m in methods}).values()
    assert len({s.marker for s in series}) == 12
    assert len({(s.colour, s.dash) for s in series}) == 12


def test_inline_svg_keeps_text_and_gets_its_own_ids(tmp_path):
    with look.style():
        figure = look.new(3, 2)
        axes = figure.add_axes((0.2, 0.2, 0.7, 0.7))
        axes.plot([0, 1], [0, 0.123456], "o-", color="#0072B2", gid="series-4")
        axes.set_title("A & <b> 0.123456")
        svg = look.save(figure, tmp_path, "plot")
    assert (tmp_path / "plot.svg").read_text() == svg
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert "0.123456" in svg  # coordinates are shortened, text is not
    classes = {}
    inlined = look.inline(svg, "plot", "f7", classes)
    assert inlined.startswith("<svg viewBox=")
    assert 'aria-labelledby="title-plot"' in inlined
    assert "A &amp; &lt;b&gt; 0.123456" in inlined
    assert 'class="s4"' in inlined
    assert not re.search(r"style=|xmlns|http|DejaVu", inlined)
    assert all(name.startswith("f7-") for name in re.findall(r'id="([^"]+)"', inlined))
    assert set(re.findall(r"#([\w-]+)[\")]", inlined)) == set(re.findall(r'id="([^"]+)"', inlined))
    assert any("var(--blue)" in declarations for declarations in classes)
    assert len(inlined) < len(svg) / 2


def test_thinned_lines_keep_their_ends_and_points():
    line = np.stack([np.sort(np.random.default_rng(0).random(500)), np.arange(500)], 1)
    thin = look.thin(line, 40)
    assert len(thin) <= 40
    np.testing.assert_array_equal(thin[[0, -1]], line[[0, -1]])
    assert {tuple(p) for p in thin} <= {tuple(p) for p in line}
    assert look.thin(line[:10], 40) is not None
    np.testing.assert_array_equal(look.thin(line[:10], 40), line[:10])


def test_joined_lines_have_gaps():
    joined = look.joined([np.zeros((2, 2)), np.ones((3, 2))])
    assert joined.shape == (7, 2)
    assert np.isnan(joined).all(1).tolist() == [False, False, True, False, False, False, True]
    assert look.joined([]).shape == (0, 2)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a|b", r"a\|b"),
        ("~ −0.6 [1, 2]", r"\~ −0.6 \[1, 2\]"),
        ("<b> & $x$", r"&lt;b&gt; &amp; \$x\$"),
        ("vit_micro", r"vit\_micro"),
    ],
)
def test_markdown_escapes(text, expected):
    assert pages._escape(text) == expected


def test_a_fence_outlasts_what_is_in_it():
    assert pages._fence("a ```` b", "sh") == "`````sh\na ```` b\n`````"


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


def test_script_is_small():
    assert (Path(look.__file__).parent / "report.js").stat().st_size < 10_000
