"""An unfinished run says so, and its report shows what is made: the same numbers as the finished run's."""

import json
import shutil

import pandas as pd
import pytest
from typer.testing import CliRunner

from eebench.cli import app
from eebench.errors import UserError
from eebench.plugins.registry import Registry
from eebench.progress import Reporter
from eebench.runs.unfinished import SPEC, read_unfinished


@pytest.fixture
def stopped(smoke, tmp_path):
    """The smoke run as if it had been stopped before its second method was made."""
    run = tmp_path / "results" / smoke.path.name
    run.mkdir(parents=True)
    for cell in (smoke.path / "cells").iterdir():
        if not cell.name.startswith("jei_dnn"):
            shutil.copytree(cell, run / "cells" / cell.name)
    spec = json.loads((smoke.path / "run.json").read_text())["spec"]
    (run / SPEC).write_text(json.dumps(spec))
    return run


def test_a_finished_run_keeps_no_sign_of_its_beginning(smoke):
    assert not (smoke.path / SPEC).exists()


def test_cells_so_far_say_what_they_say_in_the_end(smoke, stopped, plugin, tmp_path):
    before = sorted(stopped.rglob("*"))
    path = read_unfinished(stopped, tmp_path / "so-far", Registry.installed([plugin]), Reporter(quiet=True))
    assert sorted(stopped.rglob("*")) == before
    record = json.loads((path / "run.json").read_text())
    assert record["run"] == smoke.path.name
    status = {cell["label"]: cell["status"] for cell in record["cells"]}
    assert status["pabee[blocks=3+6+9]"] == status["backbone"] == "done"
    assert status["jei_dnn[blocks=4+8]"] == status["failing"] == "missing"
    assert status["shy"] == "skipped"
    assert any("cells are made, and nothing was timed yet" in note for note in record["notes"])
    points, whole = (pd.read_csv(folder / "operating_points.csv") for folder in (path, smoke.path))
    assert set(points["method"]) == {"pabee[blocks=3+6+9]", "static"}
    assert points["speedup_cpu"].isna().all()
    mine = whole[whole["method"] == "pabee[blocks=3+6+9]"].reset_index(drop=True)
    here = points[points["method"] == "pabee[blocks=3+6+9]"].reset_index(drop=True)
    for column in ("kind", "target", "knob", "score", "gmacs", "drop_low", "speedup_macs"):
        pd.testing.assert_series_equal(here[column], mine[column])
    assert pd.read_csv(path / "latency.csv").empty


def test_nothing_to_show_is_one_line(stopped, plugin, tmp_path):
    for cell in (stopped / "cells").glob("backbone-*"):
        shutil.rmtree(cell)
    registry = Registry.installed([plugin])
    with pytest.raises(UserError, match="its plain backbone is not trained yet"):
        read_unfinished(stopped, tmp_path / "so-far", registry, Reporter(quiet=True))
    (stopped / SPEC).write_text('{"methods": 3}')
    with pytest.raises(UserError, match=r"spec\.json is no run's specification"):
        read_unfinished(stopped, tmp_path / "so-far", registry, Reporter(quiet=True))


def test_a_cell_of_other_code_is_not_taken_for_this_runs(stopped, plugin, tmp_path):
    (cell,) = (stopped / "cells").glob("pabee-*")
    cell.rename(cell.with_name(cell.name[:-4] + "0000"))
    path = read_unfinished(stopped, tmp_path / "so-far", Registry.installed([plugin]), Reporter(quiet=True))
    cells = json.loads((path / "run.json").read_text())["cells"]
    assert {cell["label"]: cell["status"] for cell in cells}["pabee[blocks=3+6+9]"] == "missing"


def test_eebench_report_says_so_and_leaves_no_record(stopped, plugin, tmp_path, monkeypatch):
    monkeypatch.setattr("eebench.report.writer._plots", lambda scene: {})
    options = ["--results", str(stopped.parent), "--reports", str(tmp_path / "reports"), "--plugin", str(plugin)]
    done = CliRunner().invoke(app, ["report", stopped.name, *options])
    assert done.exit_code == 0, done.output
    assert f"unfinished run: {stopped.name}" in done.output
    assert "cells are made. So far:" in done.output
    page = (tmp_path / "reports" / stopped.name / "report.html").read_text()
    assert "(unfinished)</title>" in page
    assert not (stopped / "run.json").exists()
