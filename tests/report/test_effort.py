import pandas as pd
import pytest

from eebench.report.effort import sensitivity
from eebench.report.frames import load
from eebench.report.scene import Scene
from eebench.report.singles import training
from eebench.schema import TABLES
from tests.report.fake_run import write_run

TRIALS = [
    {"method": "pabee", "seed": 0, "trial": 0, "lr": 1.0, "backbone_lr_scale": 0.3, "value": 0.80, "seconds": 10.0},
    {"method": "pabee", "seed": 0, "trial": 1, "lr": 0.5, "backbone_lr_scale": 0.1, "options": "a=2,b=0.5",
     "value": 0.83, "seconds": 11.0, "chosen": True},
    {"method": "pabee", "seed": 0, "trial": 2, "lr": 4.0, "value": None, "seconds": 1.0, "reason": "became NaN"},
    {"method": "lgvit[blocks=4+8]", "seed": 0, "trial": 0, "lr": 1.0, "value": 0.9, "seconds": 5.0, "chosen": True},
]  # fmt: skip


@pytest.fixture
def run(tmp_path):
    path = write_run(tmp_path / "run", 2, troubles=False)
    table = pd.DataFrame(TRIALS, columns=list(TABLES["search"]))
    table["chosen"] = [row.get("chosen", False) for row in TRIALS]
    table.to_csv(path / "search.csv", index=False)
    return path


def test_what_each_method_gains_from_its_choices(run):
    (fold,) = sensitivity(Scene(load(run)))
    first, second = ([cell.text for cell in row.cells] for row in fold.blocks[1].rows)
    assert first == ["PABEE", "3", "80.0", "83.0", "+3.0", "3.0", "rates × 0.5, backbone 0.1, a=2, b=0.5", "22"]
    assert fold.blocks[1].rows[0].cells[1].small == "1 failed"
    assert second == ["LGViT [blocks=4+8]", "1", "90.0", "90.0", "0.0", "–", "the recipe as it is", "5"]
    assert "the same validation data" in fold.blocks[0].text


def test_without_a_search_there_is_nothing(three):
    assert sensitivity(Scene(load(three))) == []


def test_what_training_took_and_inference_needs(tmp_path):
    run = write_run(tmp_path / "run", 1, troubles=False)
    table = pd.read_csv(run / "training.csv").assign(train_tmacs=1.234, peak_mb=512.4, infer_mb=3.25)
    table.assign(peak_kind="resident").to_csv(run / "training.csv", index=False)
    (found,) = training(Scene(load(run)))
    names = [column.name for column in found.columns]
    row = next(row for row in found.rows if row.cells[0].text == "PABEE")
    cells = dict(zip(names, (cell.text for cell in row.cells), strict=True))
    assert (cells["Training, TMACs"], cells["Peak while trained, MB"], cells["Inference, MB"]) == ("1.23", "512", "3.2")
    assert found.caption == "What training took, mean over seeds. Peak memory is resident memory."
    older = pd.read_csv(run / "training.csv").drop(columns=["train_tmacs", "peak_mb", "infer_mb", "peak_kind"])
    older.to_csv(run / "training.csv", index=False)
    (found,) = training(Scene(load(run)))
    assert not any("MACs" in column.name for column in found.columns)
    assert found.caption == "What training took, mean over seeds."
