"""What a method does wrong after its training costs that method alone; what is wrong with a report is known before."""

import io
import os
import sys
from pathlib import Path

import pytest

import eebench
from eebench.manifest import check_run
from eebench.plugins.cards import card_faults, read_card
from eebench.plugins.registry import Registry
from eebench.report import render
from eebench.report.folder import check_folder
from eebench.testing import check_method

CODE = '''
import gc
import math

from eebench.api import Knob, Method, Phase
from eebench.parts import LinearExit, joint_loss
from eebench.rules import Above


def gap(output):
    """Gap between the two largest logits: no largest value, so an infinite knob comes to mind."""
    top = output.logits.topk(2).values
    return top[:, 0] - top[:, 1]


class Gap(Method):
    """Stops when the logits are far apart."""

    name, needs = "gap", {"classes"}

    def build(self, backbone, task):
        return {k: LinearExit(backbone.layouts[k - 1], task.outputs, norm=True) for k in inner(backbone)}

    def rule(self, task):
        return Above(gap, Knob("gap", never=math.inf, always=-math.inf))

    def phases(self, task):
        return [Phase("joint", lambda step: joint_loss(step, [1.0] * len(step.visits)))]


class Tiring(Above):
    """Raises while it is timed, and then alone: garbage collection is off."""

    def __init__(self):
        super().__init__(gap, Knob("gap", never=1e9, always=-1e9))

    def observe(self, output, exit, ids):
        if not gc.isenabled():
            raise ZeroDivisionError("tired")
        return super().observe(output, exit, ids)


class Tired(Gap):
    """Raises while it is timed."""

    name = "tired"

    def rule(self, task):
        return Tiring()


def inner(backbone):
    return (4, 8) if backbone.depth == 12 else range(1, backbone.depth)
'''
CARD = """---
title: 2024-05-01
date: 2024-05-01
summary: 7
modalities: vision
claims: 5
share: .nan
---
# A card
"""


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    """A plugin package whose methods are fine until they are timed, with a card of a stranger's."""
    folder = tmp_path_factory.mktemp("plugin") / "odd"
    folder.mkdir()
    (folder / "__init__.py").write_text(CODE)
    (folder / "README.md").write_text(CARD)
    return folder / "__init__.py"


@pytest.fixture(scope="module")
def finished(odd, tmp_path_factory):
    """A run of both, and of one that is in order."""
    with pytest.warns(RuntimeWarning, match="tired seed 0 failed: while it was timed: ZeroDivisionError: tired"):
        return eebench.run(
            methods=("gap", "tired", "pabee[blocks=6]"),
            dataset="digits",
            budget="smoke",
            device="cpu",
            latency_samples=32,
            static=(0.25,),
            plugins=[odd],
            results=tmp_path_factory.mktemp("results"),
        )


def test_a_method_that_raises_while_it_is_timed_fails_alone(finished):
    assert set(finished["curves"]["method"]) == {"backbone", "static", "gap", "pabee[blocks=6]"}
    assert set(finished["latency"]["method"]) == {"backbone", "static", "gap", "pabee[blocks=6]"}
    points = finished["operating_points"]
    assert points.loc[points["method"] == "pabee[blocks=6]", "speedup_macs"].notna().all()
    assert finished["curves"].attrs["failed"].keys() == {"tired"}


def test_an_infinite_knob_a_date_and_a_number_for_claims_survive_to_the_report(finished, tmp_path):
    path = Path(finished["curves"].attrs["path"])
    check_run(path)
    assert finished["curves"].query("method == 'gap' and kind == 'dynamic'")["knob"].max() == float("inf")
    written = render(path, tmp_path / "report")
    page = written["report.html"].read_text(encoding="utf-8")
    assert "Infinity" not in page
    assert "tired" in written["report.md"].read_text(encoding="utf-8")


def test_a_check_names_an_infinite_knob_and_what_is_wrong_with_a_card(odd):
    registry = Registry.installed([odd])
    (chosen,) = registry.choose("gap")
    broken = [f.words for f in check_method(chosen, ("vit",)) if f.status == "broken"]
    assert any("its knob may be inf: give a finite number" in words for words in broken)
    source = registry.get("gap")
    assert read_card(source) == {
        "title": "2024-05-01", "date": "2024-05-01", "summary": "7", "share": None, "bibtex": None
    }  # fmt: skip
    assert card_faults(source) == [
        "its modalities must be a list, not 'vision'", "its claims must be a list of mappings, not '5'"
    ]  # fmt: skip


@pytest.mark.parametrize("header", ["- a\n- b", "a: [", "claims: [1]", "x: &a [*a]", "? [1]\n: 2", "\x00"])
def test_no_header_of_a_card_is_too_odd(odd, header):
    (odd.parent / "README.md").write_text(f"---\n{header}\n---\nbody")
    try:
        source = Registry.installed([odd]).get("gap")
        assert read_card(source)["title"] == "gap" or "a" in read_card(source)
        assert card_faults(source) or header.startswith(("?", "x"))
    finally:
        (odd.parent / "README.md").write_text(CARD)


def test_a_report_folder_that_must_be_refused_is_known_before_training(tmp_path, monkeypatch, capsys):
    from eebench.cli import main
    from eebench.runs import executors

    def trains(*args, **kwargs):
        raise AssertionError("training began")

    spec = eebench.make_spec(methods=("pabee",), budget="smoke", dataset="digits", static=(), targets=("drop_1",))
    (tmp_path / "reports" / spec.run_name).mkdir(parents=True)
    (tmp_path / "reports" / spec.run_name / "thesis.tex").write_text("mine")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(executors.InProcess, "execute", trains)
    line = "run -m pabee --budget smoke --dataset digits --no-static --targets drop_1"
    monkeypatch.setattr(sys, "argv", ["eebench", *line.split()])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "holds thesis.tex, which is no part of a report" in capsys.readouterr().err
    assert sorted(os.listdir(tmp_path)) == ["reports"]
    check_folder(tmp_path / "reports" / "other")


def test_a_terminal_in_latin_1_loses_signs_and_no_run(monkeypatch):
    from eebench.cli import _speak_plainly

    kept = io.BytesIO()
    terminal = io.TextIOWrapper(kept, encoding="latin-1")
    monkeypatch.setattr(sys, "stdout", terminal)
    _speak_plainly()
    print("2.1× † ─", flush=True)  # noqa: T201
    assert kept.getvalue() == "2.1× ? ?\n".encode("latin-1")
