import json

import pandas as pd
import pytest

from eebench.errors import UserError
from eebench.report.frames import NEEDED, load
from eebench.schema import TABLES
from tests.report.fake_run import write_run


@pytest.fixture
def run(tmp_path):
    return write_run(tmp_path / "run", 2, seeds=(0,))


def change(run, **values):
    record = json.loads((run / "run.json").read_text()) | values
    (run / "run.json").write_text(json.dumps(record))


def test_reads_types_and_leaves_the_backbone_out(run):
    record = load(run)
    assert record.methods == ["pabee", "lgvit[blocks=4+8]"]
    assert record.points["met"].dtype == bool
    assert record.latency["noisy"].sum() == 1
    assert record.exits["exit"].dtype.kind == "i"
    assert record.seeds == [0]
    assert record.depth == 12
    assert record.devices == ["cpu"]
    assert {cell["method"] for cell in record.cells} == {"pabee", "lgvit[blocks=4+8]", "text_only"}
    assert record.exits["live"].dtype == bool
    assert {"summary", "reliability", "conformal", "shares", "pairs", "tiers", "training"} <= set(record.tables)
    assert record.targets == ["drop_1", "macs_75", "macs_50", "macs_25"]
    assert record.main == "drop_1"
    assert (record.points["withheld_cpu"] == "").all()


def test_labels_are_titles_with_options_and_never_shared(run):
    record = load(run)
    assert record.labels["pabee"] == "PABEE"
    assert record.labels["lgvit[blocks=4+8]"] == "LGViT [blocks=4+8]"
    assert record.labels["text_only"] == "text_only"
    cells = json.loads((run / "run.json").read_text())["cells"]
    for cell in cells:
        if cell["method"] == "text_only":
            cell["card"] = {"title": "PABEE"}
    change(run, cells=cells)
    labels = load(run).labels
    assert (labels["pabee"], labels["text_only"]) == ("pabee", "text_only")


def test_a_method_may_be_called_none(tmp_path):
    record = load(write_run(tmp_path / "run", ["pabee"], seeds=(0,)))
    text = (record.path / "curves.csv").read_text().replace("pabee", "None")
    (record.path / "curves.csv").write_text(text)
    assert "None" in set(load(record.path).curves["method"])


def test_optional_tables_may_be_absent_or_empty(run):
    (run / "summary.csv").unlink()
    header = (run / "conformal.csv").read_text().splitlines()[0]
    (run / "conformal.csv").write_text(header + "\n")
    record = load(run)
    assert not {"summary", "conformal"} & set(record.tables)
    assert record.table("summary").empty
    assert list(record.table("conformal")) == ["method", "seed", "target", "sets", "alpha", "coverage", "size"]


def test_static_models_are_no_methods(tmp_path):
    record = load(write_run(tmp_path / "run", 1, seeds=(0, 1), statics=(6, 3), troubles=False))
    assert record.methods == ["pabee"]
    assert record.statics == ["static"]
    assert (record.labels["static"], record.labels["static[blocks=3]"]) == ("static model", "static model, 3 blocks")
    assert {cell["method"] for cell in record.cells} == {"pabee"}
    assert set(record.table("shares")["split"]) == {"test"}


def test_what_the_report_needs_is_what_the_schema_has():
    for table, columns in NEEDED.items():
        assert set(columns) <= set(TABLES[table]), table


def test_what_a_record_lacks_of_a_later_version_stands_for_nothing(run):
    for name, columns in {"operating_points": ["withheld_cpu", "dead_share"], "exits": ["live", "majority"]}.items():
        frame = pd.read_csv(run / f"{name}.csv")
        frame.drop(columns=columns).to_csv(run / f"{name}.csv", index=False)
    record = load(run)
    assert (record.points["dead_share"] == 0).all()
    assert (record.points["withheld_cpu"] == "").all()
    assert record.exits["live"].all()


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda run: (run / "run.json").unlink(), "has no run.json"),
        (lambda run: (run / "run.json").write_text("{"), "is not readable JSON"),
        (lambda run: (run / "run.json").write_text("[]"), "no JSON object"),
        (lambda run: change(run, schema_version=99), "schema_version 99; this eebench reads 2 and 3"),
        (lambda run: change(run, schema_version=None), "schema_version None"),
        (lambda run: (run / "latency.csv").unlink(), "has no latency.csv"),
        (lambda run: (run / "exits.csv").write_text(""), "cannot be read"),
        (lambda run: (run / "exits.csv").write_bytes(b"\xff\xfe\x00"), "cannot be read"),
        (lambda run: (run / "exits.csv").write_text("method,seed\n"), "lacks the columns split, exit"),
        (
            lambda run: (run / "curves.csv").write_text(
                (run / "curves.csv").read_text().replace("test,plain", "test,")
            ),
            None,
        ),
    ],
)
def test_damage_is_one_line(run, damage, says):
    damage(run)
    if says is None:
        assert load(run).plain.empty
        return
    with pytest.raises(UserError) as caught:
        load(run)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_text_where_a_number_belongs_names_the_column(run):
    lines = (run / "summary.csv").read_text().splitlines()
    lines[1] = lines[1].rsplit(",", 1)[0] + ",many"
    (run / "summary.csv").write_text("\n".join(lines))
    with pytest.raises(UserError, match=r"summary\.csv, column value"):
        load(run)


def test_a_key_missing_from_the_record_is_named(run):
    record = json.loads((run / "run.json").read_text())
    del record["macs"], record["backbone"]
    (run / "run.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match="lacks backbone, macs"):
        load(run)
