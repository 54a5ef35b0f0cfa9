"""What README and docs show is run: Python, plugin files, and every command's name and options."""

import contextlib
import re
import shlex
from pathlib import Path

import pytest
from typer.main import get_command

from eebench.cli import app
from eebench.plugins.check_data import check_data
from eebench.plugins.registry import Registry
from eebench.testing import check_method

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
EXAMPLE = re.compile(r"<!-- example: (\S+) -->\n```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCK = re.compile(r"(?:<!-- (example|given): (.*?) -->\n)?^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


EXAMPLES = {file: code for page in PAGES for file, code in EXAMPLE.findall(text(page))}
METHODS = [file for file, code in EXAMPLES.items() if "(Method)" in code]
DATA = [file for file, code in EXAMPLES.items() if "(DataSet)" in code]
RUNNABLE = [page for page in PAGES if any(kind != "example" for kind, _, _ in BLOCK.findall(text(page)))]


@pytest.fixture
def example(request, tmp_path) -> Path:
    path = tmp_path / request.param
    path.write_text(EXAMPLES[request.param], encoding="utf-8")
    return path


def test_every_example_is_a_method_or_a_data_set():
    assert METHODS
    assert DATA
    assert set(EXAMPLES) == {*METHODS, *DATA}


def test_the_readmes_example_is_short():
    ((_, code),) = EXAMPLE.findall(text(ROOT / "README.md"))
    assert len([line for line in code.splitlines() if line.strip()]) < 40


@pytest.mark.parametrize("example", METHODS, indirect=True)
def test_an_example_method_keeps_the_contract(example):
    registry = Registry.installed([example])
    assert not registry.broken
    (chosen,) = registry.choose(example.stem)
    findings = list(check_method(chosen, ("vit", "text")))
    assert {found.status for found in findings} == {"holds"}, [f for f in findings if f.status != "holds"]


@pytest.mark.parametrize("example", DATA, indirect=True)
def test_an_example_data_set_keeps_its_promises(example):
    findings = check_data(example.stem, plugins=[example])
    assert {found.status for found in findings} == {"holds"}, findings


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Where pages run: one for all, so that what one has trained is found by the next."""
    return tmp_path_factory.mktemp("pages")


@pytest.mark.parametrize("page", RUNNABLE, ids=name)
def test_a_pages_python_runs_from_top_to_bottom(page, folder):
    """What a page takes for granted stands in a comment before the block that needs it."""
    space: dict = {"__name__": "page"}
    with contextlib.chdir(folder):
        for kind, given, code in BLOCK.findall(text(page)):
            if kind == "given":
                exec(given, space)
            if kind != "example":
                exec(compile(code, name(page), "exec"), space)


def commands() -> list[tuple[str, list[str]]]:
    """Every line that calls eebench, with its page."""
    found = []
    for page in PAGES:
        for language, block in FENCE.findall(text(page)):
            if language in ("", "console", "bash"):
                lines = block.replace("\\\n", " ").splitlines()
                calls = [part for line in lines for part in line.removeprefix("$ ").split("&&")]
                found += [(name(page), shlex.split(call, comments=True)) for call in calls]
    return [(page, words) for page, words in found if words[:1] == ["eebench"]]


COMMANDS = commands()


@pytest.mark.parametrize(("page", "words"), COMMANDS, ids=[" ".join(words) for _, words in COMMANDS])
def test_a_command_has_the_options_it_is_shown_with(page, words):
    known = get_command(app).commands
    assert words[1:], f"{page}: eebench alone shows help"
    names = words[1].split("|")[0]
    assert names in known
    options = {option for parameter in known[names].params for option in (*parameter.opts, *parameter.secondary_opts)}
    assert {word.split("=")[0] for word in words[2:] if re.match(r"--?[a-z]", word)} <= options


def test_links_lead_somewhere():
    """Of README and CONTRIBUTING; those of the documentation are checked where the site is built."""
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md"):
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text(page)):
            assert target.startswith(("http:", "https:")) or (ROOT / target).exists(), target
