"""Tables and JSON: what is written, and that it is written whole or not at all."""

import json
import math

import numpy as np
import pandas as pd
import pytest

from eebench.errors import UserError
from eebench.files import read_json, write_json, write_table


def everything(folder):
    return sorted(path.name for path in folder.rglob("*"))


def test_values_of_a_table(tmp_path):
    rows = [
        {"a": math.nan, "b": None, "c": 0.1 + 0.2, "d": True, "e": 'x,"y"\nz'},
        {"a": np.float32("nan"), "b": np.int64(7), "c": np.float64(1) / 3, "d": np.bool_(False)},
        {"c": 1e-12, "b": 12345678901, "e": ""},
    ]
    path = write_table(tmp_path / "t.csv", list("abcde"), rows)
    assert path.read_text() == ('a,b,c,d,e\n,,0.3,True,"x,""y""\nz"\n,7,0.333333333,False,\n,12345678901,1e-12,,\n')
    frame = pd.read_csv(path)
    assert frame["a"].isna().all()
    assert frame["c"][1] == pytest.approx(1 / 3, rel=1e-8)


def test_an_undocumented_column_is_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(KeyError, match=r"t.csv has no column b, c"):
        write_table(tmp_path / "t.csv", ["a"], [{"a": 1}, {"c": 1, "b": 2}])
    assert everything(tmp_path) == []


def test_a_table_that_fails_half_way_leaves_the_old_one(tmp_path):
    write_table(tmp_path / "t.csv", ["a"], [{"a": "old"}])

    def rows():
        yield {"a": "new"}
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_table(tmp_path / "t.csv", ["a"], rows())
    assert (tmp_path / "t.csv").read_text() == "a\nold\n"
    assert everything(tmp_path) == ["t.csv"]


def test_json_is_plain(tmp_path):
    values = {
        "nan": math.nan,
        "inf": [math.inf, -math.inf, np.float32("nan")],
        "numpy": (np.float64(0.5), np.int64(3), np.bool_(True)),
        7: {"deep": {"er": (math.nan, 1.5)}},
        "text": "ü",
        "none": None,
    }
    path = write_json(tmp_path / "v.json", values)

    def refuse(name):
        raise AssertionError(name)

    assert json.loads(path.read_text(), parse_constant=refuse) == {
        "nan": None,
        "inf": [None, None, None],
        "numpy": [0.5, 3, True],
        "7": {"deep": {"er": [None, 1.5]}},
        "text": "ü",
        "none": None,
    }


def test_json_that_cannot_be_written_leaves_the_old_one(tmp_path):
    write_json(tmp_path / "v.json", {"old": 1})
    with pytest.raises(TypeError):
        write_json(tmp_path / "v.json", {"new": object()})
    assert read_json(tmp_path / "v.json") == {"old": 1}
    assert everything(tmp_path) == ["v.json"]


@pytest.mark.parametrize(
    ("content", "words"), [(None, "does not exist"), (b"{", "not readable JSON"), (b"\xff\xfe", "not readable JSON")]
)
def test_json_that_cannot_be_read_is_one_line(tmp_path, content, words):
    if content is not None:
        (tmp_path / "v.json").write_bytes(content)
    with pytest.raises(UserError, match=words) as caught:
        read_json(tmp_path / "v.json")
    assert "\n" not in str(caught.value)
