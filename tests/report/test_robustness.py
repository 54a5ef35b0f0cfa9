import pandas as pd
import pytest

from eebench.report.frames import load
from eebench.report.robustness import robustness
from eebench.report.scene import Scene
from eebench.schema import TABLES
from tests.report.fake_run import write_run


@pytest.fixture
def run(tmp_path):
    path = write_run(tmp_path / "run", 1, troubles=False)
    shift = []
    for kind, severity, score, held in (("none", 0, 0.9, True), ("fog", 1, 0.8, True), ("fog", 3, 0.6, False)):
        who = {"seed": 0, "corruption": kind, "severity": severity}
        shift.append(who | {"method": "backbone", "target": "plain", "score": score + 0.02, "score_drift": score - 0.9})
        method = {"method": "pabee", "target": "drop_1", "score": score, "score_drift": score - 0.9, "drop": 0.02}
        shift.append(who | method | {"held": held, "gmacs_drift": 0.25, "coverage": 0.75})
    pd.DataFrame(shift, columns=list(TABLES["shift"])).to_csv(path / "shift.csv", index=False)
    slow = {"method": "pabee", "seed": 0, "target": "drop_1", "radius": 0.03, "samples": 64}
    for end, i in (("", 1), ("_noise", 2), ("_attacked", 4)):
        slow |= {f"mean_exit{end}": 2.0 * i, f"speedup_macs{end}": 4 / i, f"score{end}": 0.9 / i}
    pd.DataFrame([slow], columns=list(TABLES["slowdown"])).to_csv(path / "slowdown.csv", index=False)
    return path


def texts(table):
    return [[cell.text for cell in row.cells] for row in table.rows]


def test_corruptions_and_attacks_are_told_where_they_were_run(run):
    (section,) = robustness(Scene(load(run)))
    _, shift, fold, slowdown = section.blocks
    assert texts(shift) == [
        ["plain backbone", "–", "−20.0", "–", "–", "–"],
        ["PABEE", "50", "−20.0", "−2.0", "+25.0", "75.0"],
    ]
    assert shift.caption.startswith("Under 1 corruption of the test split")
    assert texts(fold.blocks[0]) == [["plain backbone", "72.0"], ["PABEE", "70.0"]]
    assert texts(slowdown) == [
        ["PABEE", "2.00", "4.00", "8.00", "4.00×", "2.00×", "1.00×", "90.0", "45.0", "22.5"]
    ]  # fmt: skip
    assert "by more than 3 % of full brightness, 64 test images" in slowdown.caption


def test_without_them_there_is_no_section(three):
    assert robustness(Scene(load(three))) == []
