"""Method cards, read without importing the method."""

import sys
from importlib.metadata import EntryPoint

import pytest

from eebench.plugins.cards import card_text, read_card, summary
from eebench.plugins.registry import GROUP, Registry, Source

CARD = """---
title: The Method
summary: Stops when it is done.
claims:
  - value: 1.8
---
# The Method

Words.

```bibtex
@article{key, title={T}}
```
"""


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A source whose package holds these files; importing the package fails, so it must not be imported."""
    monkeypatch.syspath_prepend(tmp_path)
    folder = tmp_path / "carded"
    folder.mkdir()

    def make(readme=None, init='"""The module.\n\nMore."""\nraise RuntimeError\n', value="carded:Mine"):
        (folder / "__init__.py").write_text(init)
        if readme is not None:
            (folder / "README.md").write_text(readme, encoding="utf-8")
        return Source("mine", "here", EntryPoint("mine", value, GROUP))

    yield make
    sys.modules.pop("carded", None)


def test_header_and_body(source):
    mine = source(CARD)
    card = read_card(mine)
    assert (card["title"], card["summary"], card["claims"]) == (
        "The Method",
        "Stops when it is done.",
        [{"value": 1.8}],
    )
    assert card["bibtex"] == "@article{key, title={T}}"
    assert summary(mine) == "Stops when it is done."
    assert card_text(mine).startswith("# The Method")
    assert "summary:" not in card_text(mine)
    assert "carded" not in sys.modules


def test_without_a_header(source):
    mine = source("# Only words\n")
    assert read_card(mine) == {"title": "mine", "bibtex": None}
    assert summary(mine) == ""
    assert card_text(mine) == "# Only words"


def test_without_a_card_the_docstring_speaks(source):
    mine = source()
    assert read_card(mine) == {"title": "mine", "summary": "The module."}
    assert card_text(mine) == "# mine\n\nThe module."


@pytest.mark.parametrize("header", ["title: [unclosed", "- a list\n- of things", "just words", "a: b: c"])
def test_a_header_that_is_no_mapping_does_not_break_the_list(source, header):
    mine = source(f"---\n{header}\n---\nbody\n")
    assert summary(mine) == "(its card's header is no YAML mapping)"
    assert card_text(mine) == "body"


@pytest.mark.parametrize("value", ["carded.child:Mine", "no_such_package:Mine"])
def test_a_package_that_cannot_be_found_has_no_card(source, value):
    mine = source(CARD, value=value)
    assert mine.card() is None
    assert summary(mine) == ""
    assert card_text(mine) == "# mine\n\nThis method has no card."


def test_a_plugin_file_shows_its_classes_docstring(plugin):
    shy = Registry.installed([plugin]).get("shy")
    assert summary(shy) == "Makes no sense on images."
    assert card_text(shy) == "# shy\n\nMakes no sense on images."


@pytest.mark.parametrize("name", Registry.installed().sources)
def test_every_installed_method_says_in_one_line_what_it_does(name):
    line = summary(Registry.installed().get(name))
    assert 20 < len(line) < 250
    assert "\n" not in line
