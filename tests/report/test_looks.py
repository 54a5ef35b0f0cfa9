import itertools
import re
from pathlib import Path

import numpy as np
import pytest

import eebench.report.svg as svg
from eebench.report import looks, pages

ROOT = Path(__file__).parents[2]
METHODS = sorted(path.parent.name for path in (ROOT / "methods").glob("*/README.md"))

# Machado, Oliveira and Fernandes (2009), severity 1.0, on linear RGB.
DEUTERANOPIA = np.array(
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]]
)
PROTANOPIA = np.array(
    [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
)
TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.072175], [0.0193339, 0.119192, 0.9503041]]
)


def linear(colour):
    channels = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)


def contrast(a, b):
    """WCAG 2.2, 1.4.3."""
    low, high = sorted(float(TO_XYZ[1] @ linear(colour)) for colour in (a, b))
    return (high + 0.05) / (low + 0.05)


def lab(rgb):
    xyz = TO_XYZ @ np.clip(rgb, 0, 1) / np.array([0.95047, 1, 1.08883])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def schemes():
    css = (pages.HERE / "report.css").read_text()
    pairs = re.findall(r"--([\w-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\)", css)
    return {"light": {n: a for n, a, _ in pairs}, "dark": {n: b for n, _, b in pairs}}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read(scheme):
    colours = schemes()[scheme]
    for ink, ground in itertools.product(("ink", "muted", "link"), ("paper", "raised")):
        assert contrast(colours[ink], colours[ground]) >= 4.5, (ink, ground)
    assert contrast(colours["note-ink"], colours["note"]) >= 4.5


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_methods_colour_can_be_seen(scheme):
    for colour in looks.COLOURS:
        assert contrast(colour, schemes()[scheme]["paper"]) >= 3, colour


@pytest.mark.parametrize("vision", [np.eye(3), DEUTERANOPIA, PROTANOPIA], ids=["full", "deuteranopia", "protanopia"])
def test_colours_are_far_apart_with_and_without_red_green_vision(vision):
    seen = [lab(vision @ linear(colour)) for colour in looks.COLOURS]
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) > 25


def test_plots_use_the_pages_own_colours():
    for name, colours in (("light", {v: k for k, v in svg.VARIABLES.items()}), ("dark", None)):
        for colour, variable in svg.VARIABLES.items():
            shown = colour if colours else svg.dark(f"fill: {colour}").removeprefix("fill: ")
            assert schemes()[name][variable.removeprefix("--")] == shown


def test_a_method_looks_the_same_in_every_report():
    labels = {name: name for name in METHODS}
    alone = {name: looks.looks([name], labels)[name] for name in METHODS}
    for order in (METHODS, METHODS[::-1], METHODS[3:7]):
        for name, look in looks.looks(order, labels).items():
            assert (look.colour, look.marker, look.dash) == (alone[name].colour, alone[name].marker, alone[name].dash)


def test_methods_that_ship_can_be_told_apart_without_colour():
    found = looks.looks(METHODS, {name: name for name in METHODS}).values()
    assert len({look.marker for look in found}) == len(METHODS) == 11
    assert len({(look.colour, look.dash) for look in found}) == len(METHODS)


def test_variants_share_a_colour_and_no_two_a_marker():
    names = ["lgvit", "lgvit[blocks=4+8]", "lgvit[blocks=3+6]", *(f"plugin_{i}" for i in range(8))]
    found = looks.looks(names, {name: name for name in names})
    assert len({found[name].colour for name in names[:3]}) == 1
    assert len({look.marker for look in found.values()}) == len(names)


def test_more_methods_than_markers_are_drawn_all_the_same():
    names = [f"m{i}" for i in range(20)]
    assert len(looks.looks(names, {name: name for name in names})) == 20
