"""Imports tried in a process of their own: who ends it is named, who merely raises is not its matter."""

import pytest

from eebench.errors import UserError
from eebench.plugins.trial import Import, tried_registry, try_imports


def test_those_that_end_the_process_or_never_end_are_found_one_by_one(tmp_path):
    codes = {
        "good": "x = 1",
        "leaves": "import os; os._exit(0)",
        "raises": "1 / 0",
        "exits": "import sys; sys.exit(4)",
        "crashes": "import ctypes; ctypes.string_at(0)",
        "last": "y = 2",
    }
    for name, code in codes.items():
        (tmp_path / f"{name}.py").write_text(code)
    imports = [Import(f"plugin {name}", tmp_path / f"{name}.py") for name in codes]
    found = try_imports(imports)
    assert {key.words: why for key, why in found.items()} == {
        "plugin leaves": "plugin leaves cannot be imported: it ends the process (exit status 0)",
        "plugin crashes": "plugin crashes cannot be imported: it ends the process (SIGSEGV)",
    }


def test_an_import_that_never_ends(tmp_path):
    (tmp_path / "loops.py").write_text("while True: pass")
    (found,) = try_imports([Import("plugin loops", tmp_path / "loops.py")], patience=3).values()
    assert found == "plugin loops cannot be imported: it does not end within 3 s"


def test_a_file_that_was_named_is_an_error(tmp_path):
    (tmp_path / "leaves.py").write_text("import os; os._exit(0)")
    with pytest.raises(UserError, match=r"leaves\.py cannot be imported: it ends the process \(exit status 0\)"):
        tried_registry([tmp_path / "leaves.py"], ["pabee"])


def test_with_eebenchs_own_methods_alone_no_process_is_started(monkeypatch):
    monkeypatch.setattr("eebench.plugins.trial.try_imports", lambda imports: pytest.fail("a process was started"))
    registry = tried_registry([], ["all"], ("digits", "vit_micro"))
    assert "pabee" in registry.sources
    assert registry.deadly == {}
