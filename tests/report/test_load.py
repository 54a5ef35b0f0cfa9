"""The report's load section is the load table of the run's own readings, for the two fastest methods."""

import numpy as np
import pandas as pd
import pytest

from eebench.report import load as section
from eebench.report.frames import load
from eebench.report.load import load as told
from eebench.report.scene import Scene
from eebench.report.text import times
from eebench.serving import LOADS, load_table
from tests.report.fake_run import write_run


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Readings as they stand in latency.csv, each sample's a little off."""
    return readable(write_run(tmp_path / "run", 1, troubles=False), monkeypatch)


def readable(path, monkeypatch):
    """The run with readings that its latency.csv is the mean of."""
    latency = pd.read_csv(path / "latency.csv", keep_default_na=False)
    rng = np.random.default_rng(0)
    readings = {}
    for row in latency.itertuples():
        name = "|".join(map(str, (row.method, row.device, row.scenario, row.batch_size, row.path)))
        readings[name] = row.mean_ms * rng.uniform(0.8, 1.2, (3, 40))
    np.savez(path / "latency-s0.npz", **readings)
    monkeypatch.setattr("eebench.serving.read_record", lambda path: type("Record", (), {"run": "made"}))
    monkeypatch.setattr(section, "REQUESTS", 4000)
    return path


def test_two_methods_at_most_beside_the_plain_backbone(run):
    scene = Scene(load(run))
    (found,) = told(scene)
    text, table = found.blocks
    points = scene.table
    points = points[(points["target"] == scene.main) & (points["kind"] == "dynamic") & points["met"].astype(bool)]
    fastest = points.dropna(subset="speedup_cpu").sort_values("speedup_cpu", ascending=False)["method"].head(2)
    assert [row.cells[0].text for row in table.rows] == ["plain backbone", *(scene.record.labels[m] for m in fastest)]
    assert len(table.columns) == 2 + len(LOADS)
    expected = load_table(run, methods=list(fastest), targets=[scene.main], requests=4000)
    for row, method in zip(table.rows, ("backbone", *fastest), strict=True):
        mine = expected[expected["method"] == method]
        assert [cell.sort for cell in row.cells[1:-1]] == pytest.approx(list(mine["p99_ms"]))
        assert row.cells[-1].sort == pytest.approx(mine["highest_load"].mean())
    assert "the traffic that the plain backbone bears" in text.text


def test_the_fastest_static_model_stands_beside_them(tmp_path, monkeypatch):
    path = readable(write_run(tmp_path / "run", 1, troubles=False, statics=(9, 11)), monkeypatch)
    points = pd.read_csv(path / "operating_points.csv", keep_default_na=False)
    points.assign(choose="naive").to_csv(path / "operating_points.csv", index=False)  # no margin: both are met
    scene = Scene(load(path))
    (found,) = told(scene)
    points = scene.table
    points = points[(points["target"] == scene.main) & (points["kind"] == "static") & points["met"].astype(bool)]
    fastest = points.sort_values("speedup_cpu", ascending=False).iloc[0]
    label = scene.record.labels[fastest["method"]]
    assert found.blocks[1].rows[-1].cells[0].text == label
    expected = load_table(path, methods=["static"], targets=[f"blocks_{int(fastest['knob'])}"], requests=4000)
    mine = expected[expected["method"] == "static"]
    assert found.blocks[1].rows[-1].cells[-1].sort == pytest.approx(mine["highest_load"].mean())
    plain = expected[expected["method"] == "backbone"]["highest_load"].mean()
    assert found.blocks[0].text.endswith(f"; {label}: {times(mine['highest_load'].mean() / plain)}.")


def test_without_readings_there_is_no_section(run):
    (run / "latency-s0.npz").unlink()
    assert told(Scene(load(run))) == []


def test_a_method_whose_speedup_is_withheld_is_not_shown(run):
    points = pd.read_csv(run / "operating_points.csv", keep_default_na=False)
    points.loc[points["kind"] == "dynamic", ["speedup_cpu", "withheld_cpu"]] = ["", "noisy"]
    points.to_csv(run / "operating_points.csv", index=False)
    assert told(Scene(load(run))) == []
