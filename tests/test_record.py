"""run.json as a model: what is written is what is read, and what is damaged is one line."""

import json

import pytest

from eebench.errors import UserError
from eebench.record import RunRecord, read_record
from eebench.schema import SCHEMA_VERSION


@pytest.fixture
def run(smoke, tmp_path):
    """A copy of a real run's record that may be spoilt."""
    (tmp_path / "run.json").write_text((smoke.path / "run.json").read_text())
    return tmp_path


def test_a_record_survives_its_own_reading(run):
    record = read_record(run)
    assert record.schema_version == SCHEMA_VERSION
    assert json.loads(record.model_dump_json()) == json.loads((run / "run.json").read_text())


def test_finished_cells_by_label(run):
    record = read_record(run)
    assert set(record.done("backbone")) == {0}
    assert record.done("nobody") == {}


def spoil(run, **changes):
    values = json.loads((run / "run.json").read_text()) | changes
    (run / "run.json").write_text(json.dumps(values))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"schema_version": 1}, "schema version 1; this eebench reads"),
        ({"cells": 5}, "is damaged: cells"),
        ({"surprise": 1}, "is damaged: surprise"),
        ({"data": None}, "is damaged: data"),
    ],
)
def test_what_does_not_fit_is_one_line(run, changes, words):
    spoil(run, **changes)
    with pytest.raises(UserError, match=words) as caught:
        read_record(run)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [None, b"{", b"\xff\xfe", b"[1]"])
def test_what_is_no_record_is_one_line(tmp_path, content):
    if content is not None:
        (tmp_path / "run.json").write_bytes(content)
    with pytest.raises(UserError, match=r"run\.json"):
        read_record(tmp_path)


def test_a_field_nobody_knows_is_refused_when_written():
    with pytest.raises(ValueError, match="surprise"):
        RunRecord.model_validate({"surprise": 1})
