"""What a record says of plugins, and what is made of it."""

import hashlib

from eebench.runs.plugged import missing, recorded, stamp
from tests.runs.test_given import Sure


def test_a_file_is_its_name_and_its_content(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "mine.py"
    file.write_text("x = 1\n")
    first = stamp(file.relative_to(tmp_path))
    assert first == f"mine.py@{hashlib.sha256(b'x = 1' + bytes([10])).hexdigest()}"
    assert [path.name for path in recorded([first])] == ["mine.py"]
    assert missing([first], [file]) == []
    file.write_text("x = 2\n")
    assert stamp(file.relative_to(tmp_path)) != first
    assert recorded([first]) == []  # an edited file is never imported for an older record
    assert missing([first], [file]) == ["mine.py"]


def test_a_class_is_its_code():
    assert stamp(Sure).startswith("tests.runs.test_given.Sure@")
    assert recorded([stamp(Sure)]) == []


def test_an_edited_plugin_is_another_run(tmp_path):
    from eebench import make_spec

    names = {make_spec(plugins=(f"mine.py@{letter * 64}",)).run_name for letter in "ab"}
    assert len(names) == 2
