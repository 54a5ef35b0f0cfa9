import pandas as pd
import pytest

from eebench.report.frames import load
from eebench.report.runtimes import runtimes
from eebench.report.scene import Scene
from eebench.schema import TABLES
from tests.report.fake_run import write_run


@pytest.fixture
def run(tmp_path):
    path = write_run(tmp_path / "run", 1, troubles=False)
    rows = []

    def row(method, runtime, against, ms, plain, withheld="", ran_in=None):
        found = {"method": method, "seed": 0, "path": "drop_1", "runtime": runtime, "ran_in": ran_in or runtime}
        found |= {"against": against, "mean_ms": ms, "plain_ms": plain, "withheld": withheld}
        speedups = (("speedup", 1), ("speedup_low", 0.9), ("speedup_high", 2))
        shown = {} if withheld else {name: factor * plain / ms for name, factor in speedups}
        rows.append(found | shown)

    row("pabee", "eager", "eager", 2.0, 4.0)
    row("pabee", "compile", "compile", None, None, "torch.compile: Unsupported: no such operator")
    row("pabee", "onnxruntime", "onnxruntime", 1.6, 2.0)
    row("pabee", "best", "onnxruntime", 1.6, 2.0, ran_in="onnxruntime")
    pd.DataFrame(rows, columns=list(TABLES["runtimes"])).to_csv(path / "runtimes.csv", index=False)
    latency = pd.read_csv(path / "latency.csv", keep_default_na=False)
    other = latency[latency["path"] == "plain"].assign(runtime="onnxruntime", mean_ms=1e-6)
    pd.concat([latency.assign(runtime="eager"), other]).to_csv(path / "latency.csv", index=False)
    return path


def texts(table):
    return [[cell.text for cell in row.cells] for row in table.rows]


def test_speedups_by_runtime_and_best_against_best(run):
    (section,) = runtimes(Scene(load(run)))
    headline, table, fold = section.blocks
    assert headline.text == (
        "Fastest with at most 1 point lost, each side in its best runtime: PABEE, 1.25× [1.12, 2.50], in ONNX Runtime"
        " against the plain backbone in ONNX Runtime; with both in eager PyTorch it is 2.00×."
    )
    assert [column.name for column in table.columns] == [
        "Method", "× eager PyTorch", "× torch.compile", "× ONNX Runtime", "× best against best",
    ]  # fmt: skip
    assert texts(table) == [
        ["plain backbone", "1.00×", "–", "1.00×", "1.00×"],
        ["PABEE", "2.00×", "–", "1.25×", "1.25×"],
    ]
    assert [cell.small for cell in table.rows[1].cells][1:4] == ["2.00 ms", "", "1.60 ms"]
    assert table.rows[1].cells[4].small == "ONNX Runtime against ONNX Runtime"
    assert texts(fold.blocks[0]) == [["PABEE", "torch.compile", "torch.compile: Unsupported: no such operator"]]


def test_times_in_other_runtimes_are_in_no_other_table(run):
    record = load(run)
    assert set(record.latency["runtime"]) == {"eager"}
    assert record.single.loc[record.single["path"] == "plain", "mean_ms"].min() > 1e-3


def test_without_them_there_is_no_section(three):
    assert runtimes(Scene(load(three))) == []
