"""The README's own example and claims about commands are run, not trusted."""

import re
from pathlib import Path

import pytest

from eebench.plugins.check import check_method
from eebench.plugins.registry import Registry

README = Path(__file__).parents[1] / "README.md"


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    text = README.read_text(encoding="utf-8")
    code = re.search(r"<!-- example: (\S+) -->\n```python\n(.*?)```", text, re.DOTALL)
    assert code is not None
    path = tmp_path_factory.mktemp("plugin") / code.group(1)
    path.write_text(code.group(2), encoding="utf-8")
    return path


def test_the_example_is_short(example):
    lines = [line for line in example.read_text(encoding="utf-8").splitlines() if line.strip()]
    assert len(lines) < 22


def test_the_example_passes_the_check(example):
    registry = Registry.installed([example])
    assert not registry.broken
    findings = list(check_method(registry.choose("margin")[0], ("vit", "text")))
    assert {f.status for f in findings} == {"holds"}, [f for f in findings if f.status != "holds"]


def test_every_command_of_the_readme_exists():
    from typer.main import get_command

    from eebench.cli import app

    known = set(get_command(app).commands)
    text = README.read_text(encoding="utf-8")
    used = set(re.findall(r"^(?:pip .*&& )?eebench (\w+)", text, re.MULTILINE))
    assert {"run", "cost", "check", "new"} <= used <= known
