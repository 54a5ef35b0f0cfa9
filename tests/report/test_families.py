"""One method, several trainings: which rows belong together, and the joined curve by brute force."""

import numpy as np
import pytest

from eebench.report import families, render
from eebench.report.frames import load
from eebench.report.lines import Lines
from eebench.report.scene import Scene
from eebench.report.style import PAGE, style
from eebench.report.writer import _plots
from tests.report.fake_run import write_run

LAMBDAS = ("jei_dnn[tradeoff=10]", "jei_dnn[tradeoff=0.1]", "jei_dnn")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "family"
    return write_run(path, [*LAMBDAS, "pabee"], seeds=(0, 1), statics=(3, 6), troubles=False)


@pytest.fixture(scope="module")
def scene(run):
    return Scene(load(run))


def of(*methods):
    return [(family.name, family.option, family.members) for family in families.families(methods)]


def test_methods_that_differ_in_one_option_are_a_family_in_the_order_of_its_values():
    assert of("pabee", *LAMBDAS) == [
        ("jei_dnn", "tradeoff", ("jei_dnn", "jei_dnn[tradeoff=0.1]", "jei_dnn[tradeoff=10]"))
    ]
    assert families.families(LAMBDAS)[0].value("jei_dnn") == "default"


def test_two_options_make_two_families_and_no_mixture():
    assert of("a[x=1,y=1]", "a[y=1,x=2]", "a[x=2,y=3]") == [
        ("a", "x", ("a[x=1,y=1]", "a[y=1,x=2]")),
        ("a", "y", ("a[y=1,x=2]", "a[x=2,y=3]")),
    ]


@pytest.mark.parametrize("methods", [(), ("a",), ("a", "b"), ("a[x=1]", "b[x=2]"), ("a[x=1,y=1]", "a[x=2,y=2]")])
def test_no_family(methods):
    assert of(*methods) == []


def test_the_joined_score_is_chosen_over_all_trainings_on_validation_data(scene):
    record, lines = scene.record, Lines(scene)
    for share in families.SHARES:
        budget = share * record.val("plain")["gmacs"].mean()
        scores, who = [], []
        for seed in (0, 1):
            best = None
            for method in LAMBDAS:
                val, test = (
                    table[(table["method"] == method) & (table["seed"] == seed)].set_index("knob")
                    for table in (record.val("dynamic"), record.test("dynamic"))
                )
                for knob, row in val.iterrows():
                    key = (row["score"], -row["gmacs"])
                    if row["gmacs"] <= budget * (1 + 1e-9) and (best is None or key > best[0]):
                        best = key, test.loc[knob, "score"], method
            scores.append(best[1])
            who.append(best[2])
        told, chosen = lines.at(LAMBDAS, [budget])[0]
        assert told == pytest.approx(np.mean(scores))
        assert chosen == who
    assert np.isnan(lines.at(LAMBDAS, [0.0])[0][0])


def test_the_page_has_a_section_and_a_figure(run, scene, tmp_path, monkeypatch):
    monkeypatch.setattr("eebench.report.writer.PAPER", ())
    files = render(run, tmp_path / "report")
    page = files["report.md"].read_text()
    assert "<summary>One method, several trainings</summary>" in page
    assert "figures/families.svg" in files
    row = next(line for line in page.splitlines() if "all, joined" in line)
    told = Lines(scene).at(LAMBDAS, [families.SHARES[0] * scene.record.val("plain")["gmacs"].mean()])[0]
    assert scene.write.score(told[0]) in row


def test_without_a_family_there_is_nothing(three):
    scene = Scene(load(three))
    assert "families" not in _plots(scene)
    assert families.section(scene, {"families"}) == []


def test_every_training_is_drawn(scene):
    with style():
        plot = families.draw(scene, Lines(scene), PAGE)
    (axes,) = [a for a in plot.figure.axes if a.get_visible()]
    assert len(axes.get_lines()) == len(LAMBDAS) + 2  # the joined one and static models
    assert axes.get_title(loc="left") == "JEI-DNN, by tradeoff"
