"""What the first section warns of: who trained longer, and what validation data cannot tell."""

import pytest

from eebench.report import sections
from eebench.report.derive import compare
from eebench.report.frames import load
from eebench.report.pareto import Scene
from eebench.report.text import Writer


@pytest.fixture
def record(three):
    return load(three)


@pytest.fixture
def scene(record):
    return Scene(record, compare(record), Writer(record))


def test_how_long_everybody_was_trained(scene, record):
    assert sections._training(scene) == ""  # an old record does not say
    for cell in record.run["cells"]:
        cell["phases"] = [{"epochs": 40}] if cell["method"] == "backbone" else [{"epochs": 5}, {"epochs": 15}]
    text = sections._training(scene)
    assert text.startswith("It was trained for 40 epochs, and each method went on from there for 20. ")
    record.run["cells"][-1]["phases"] = [{"epochs": 30}]
    assert "for 20 or 30." in sections._training(scene)


def test_chance_on_validation_is_told_where_it_exceeds_a_point(scene, record):
    points = record.points
    points["drop_low"], points["drop_high"] = points["drop"] - 0.01, points["drop"] + 0.01
    record.run["data"] |= {"n_val": 100, "n_test": 400}
    (note,) = sections._resolution(scene)
    assert "100 validation samples, where a difference of 2.0 points is chance" in note
    record.run["data"]["n_val"] = 500
    assert sections._resolution(scene) == []
