"""Whatever is typed or lies in a file: it is taken, or refused in one line. No input reaches a traceback."""

import csv
import io
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from eebench.cli.input import numbers
from eebench.data.kinds.csv_texts import read_table
from eebench.errors import UserError, shown
from eebench.manifest import MANIFEST, faults_of_cell, faults_of_run, seal
from eebench.plugins.cards import card_faults, read_card
from eebench.plugins.registry import Registry, Source
from eebench.record import RunRecord, read_record
from eebench.runs.spec import RunSpec, make_spec
from eebench.studies.file import read_study
from eebench.targets import Target

QUICK = settings(
    max_examples=100, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
REGISTRY = Registry.installed()


def refused(work, *arguments):
    """What it gives; None when it was refused."""
    try:
        return work(*arguments)
    except UserError:
        return None


@QUICK
@given(st.dictionaries(st.sampled_from([*RunSpec.model_fields, "surprise"]), JSON, max_size=4))
def test_a_spec_is_made_or_refused_and_names_one_folder(values):
    spec = refused(lambda: make_spec(**values))
    if spec is not None:
        assert Path(spec.run_name).name == spec.run_name
        assert len(spec.run_name.encode()) < 600
        assert RunSpec.model_validate(spec.model_dump()).sha256 == spec.sha256


@QUICK
@given(st.text(alphabet=st.sampled_from("pabe[]=,+-.0123456789xblockst \té"), max_size=40))
@example("pabee[")
@example("pabee[=]")
@example("[]")
@example("pabee[blocks=1e9]")
@example("pabee[patience=1e400]")
def test_options_are_parsed_or_refused(text):
    refused(REGISTRY.choose, text)


@QUICK
@given(st.text(alphabet="0123456789-,.einfx ", max_size=20), st.sampled_from([int, float]))
@example("9" * 5000, int)
def test_lists_of_numbers_are_parsed_or_refused(text, kind):
    found = refused(numbers, "--seeds", text, kind)
    assert found is None or (found and all(isinstance(number, kind) for number in found))


@QUICK
@given(st.text(max_size=20) | st.from_regex(r"(drop|macs|ms)_[0-9.e+-]{0,8}"))
def test_targets_are_parsed_or_refused(text):
    found = refused(Target.parse, text)
    assert found is None or Target.parse(found.name) == found


@QUICK
@given(st.binary(max_size=200) | st.text(alphabet='text,label"\n\r\0aé;', max_size=80).map(str.encode))
def test_a_csv_is_read_or_refused(tmp_path, content):
    path = tmp_path / "train.csv"
    path.write_bytes(content)
    table = refused(read_table, path)
    if table is not None:
        assert all(len(row) == len(table.columns) for row in table.rows)


@QUICK
@given(st.lists(st.tuples(st.text(max_size=20), st.text(max_size=5)), min_size=1, max_size=5))
def test_a_csv_that_pythons_own_writer_made_is_read_as_it_was(tmp_path, rows):
    rows = [(a.replace("\0", "").replace("\r", ""), b.replace("\0", "").replace("\r", "")) for a, b in rows]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows([("text", "label"), *rows])
    path = tmp_path / "train.csv"
    path.write_bytes(text.getvalue().encode("utf-8", "replace"))
    expected = [[value.encode("utf-8", "replace").decode() for value in row] for row in rows]
    assert read_table(path).rows == expected


@QUICK
@given(st.binary(max_size=120) | JSON.map(lambda value: f"---\n{json.dumps(value)}\n---\nbody".encode()))
@example(b"---\n&a [*a]\n---\n")
@example(b"---\ndate: 2024-13-45\n---\n")
@example(b"---\nclaims: {a: .inf}\n---\n")
def test_a_card_is_read_whatever_it_says(tmp_path, content):
    (tmp_path / "README.md").write_bytes(content)
    card = tmp_path / "README.md"
    source = type("Card", (Source,), {"card": lambda self: card})("mine", "here")
    found = read_card(source)
    json.dumps(found, allow_nan=False)
    assert isinstance(found["title"], str) or found["title"] is None
    assert isinstance(found.get("claims", []), list)
    assert all(isinstance(fault, str) for fault in card_faults(source))


@QUICK
@given(JSON, st.sampled_from([".toml", ".yaml", ".yml", ".txt"]))
def test_a_study_file_is_read_or_refused(tmp_path, value, suffix):
    path = tmp_path / f"study{suffix}"
    path.write_text(json.dumps(value))
    refused(read_study, path)


@QUICK
@given(st.binary(max_size=200), st.sampled_from([".toml", ".yaml"]))
def test_no_bytes_are_too_odd_for_a_study_file(tmp_path, content, suffix):
    path = tmp_path / f"study{suffix}"
    path.write_bytes(content)
    refused(read_study, path)


@pytest.fixture(scope="module")
def values(smoke):
    return json.loads((smoke.path / "run.json").read_text())


@QUICK
@given(st.data())
def test_a_record_is_read_or_refused_and_never_leads_out_of_its_folder(values, tmp_path, data):
    spoilt = json.loads(json.dumps(values))
    spoilt[data.draw(st.sampled_from(sorted(spoilt)))] = data.draw(JSON)
    cells = spoilt["cells"]
    if data.draw(st.booleans()) and isinstance(cells, list) and cells and isinstance(cells[0], dict):
        cells[0]["id"] = data.draw(st.text(alphabet="./\\ab\0", max_size=8))
    (tmp_path / "run.json").write_text(json.dumps(spoilt))
    record = refused(read_record, tmp_path)
    if record is not None:
        assert isinstance(record, RunRecord)
        assert all((tmp_path / c.id).resolve().parent == tmp_path.resolve() for c in record.cells if c.id is not None)
    assert faults_of_run(tmp_path) is None or isinstance(faults_of_run(tmp_path), list)


@pytest.mark.parametrize("name", ["../other/cells/x", "/etc", "..", ".", "", "a/b", ".hidden", "a\nb"])
def test_a_cell_elsewhere_is_refused(values, tmp_path, name):
    spoilt = json.loads(json.dumps(values))
    spoilt["cells"][0]["id"] = name
    (tmp_path / "run.json").write_text(json.dumps(spoilt))
    with pytest.raises(UserError, match=r"cells\.0\.id: .*is no name of a cell's folder"):
        read_record(tmp_path)


@QUICK
@given(st.binary(min_size=1, max_size=300), st.data())
def test_any_other_bytes_than_those_written_are_found(tmp_path, content, data):
    folder = tmp_path / "cell"
    folder.mkdir(exist_ok=True)
    (folder / "trace-val.npz").write_bytes(content)
    seal(folder, cell="cell")
    assert faults_of_cell(folder, "cell") == []
    other = data.draw(st.binary(max_size=300))
    (folder / "trace-val.npz").unlink()  # another file of the same size within one tick of a clock has another inode
    (folder / "other").write_bytes(b"holds the inode")
    (folder / "trace-val.npz").write_bytes(other)
    assert bool(faults_of_cell(folder, "cell")) == (other != content)
    (folder / "other").unlink()


@QUICK
@given(st.binary(max_size=120) | JSON.map(lambda value: json.dumps({"files": value, "cell": "cell"}).encode()))
def test_no_manifest_is_too_odd(tmp_path, content):
    folder = tmp_path / "cell"
    folder.mkdir(exist_ok=True)
    (folder / "cell.json").write_text("{}")
    (folder / MANIFEST).write_bytes(content)
    assert faults_of_cell(folder, "cell")


@QUICK
@given(st.text(max_size=40))
def test_what_is_shown_can_be_printed_and_obeyed_by_no_terminal(text):
    assert shown(text).isprintable()
