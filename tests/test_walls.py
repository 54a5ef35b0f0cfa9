"""The walls between rooms, as ``[tool.importlinter]`` in pyproject.toml draws them; imports inside functions count."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.rooms import PACKAGES, ROOT, survey

LINT = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
WIDE = {**os.environ, "COLUMNS": "300"}  # no line of its answer is wrapped

PLANTED = {  # a wrong import, and the wall it must run into
    "eebench/measure/planted_torch.py": ("import torch", "Measures are arrays alone"),
    "eebench/measure/planted_files.py": ("from eebench.files import write_json", "Measures are arrays alone"),
    "methods/planted_engine.py": ("from eebench.engine.model import EarlyExitModel", "Methods need the contract"),
    "methods/planted_data.py": ("import eebench.data.base", "Methods need the contract"),
    "eebench/report/planted_runs.py": ("from eebench.runs import store", "A report is made from the record alone"),
    "eebench/report/planted_api.py": ("from eebench.api import Task", "A report is made from the record alone"),
    "eebench/api.py": ("from eebench.errors import UserError", "The contract of a plugin imports nothing"),
    "eebench/engine/planted_plugins.py": ("from eebench.plugins.registry import Registry", "The engine knows neither"),
    "eebench/runs/planted_cli.py": ("from eebench.cli.input import say", "Nothing imports the command line"),
    "eebench/timing/planted_runs.py": ("import eebench.runs.spec", "Rooms import downwards only"),
    "eebench/new_room.py": ("import os", "Rooms import downwards only"),
}


def lint(checkout: Path) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", LINT], cwd=checkout, capture_output=True, text=True, env=WIDE)


@pytest.fixture(scope="module")
def broken(tmp_path_factory) -> dict[str, str]:
    """What the linter says, wall by wall, about a copy with every planted import, each inside a function."""
    copy = tmp_path_factory.mktemp("copy")
    shutil.copy(ROOT / "pyproject.toml", copy)
    for name, source in PACKAGES.items():
        shutil.copytree(ROOT / source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path, (line, _) in PLANTED.items():
        with (copy / path.replace("methods/", "eebench_methods/")).open("a", encoding="utf-8") as file:
            file.write(f"\n\ndef planted() -> None:\n    {line}\n")
    done = lint(copy)
    assert done.returncode == 1, done.stderr
    sections = re.split(r"^(.+)\n-{4,}\n", done.stdout.split("Broken contracts")[1], flags=re.MULTILINE)
    return dict(zip(sections[1::2], sections[2::2], strict=True))


def test_no_wall_is_broken():
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", PLANTED)
def test_a_wrong_import_inside_a_function_is_seen(broken, path):
    wall = next(name for name in broken if name.startswith(PLANTED[path][1]))
    module = path.removesuffix(".py").replace("methods/", "eebench_methods/").replace("/", ".")
    assert module in broken[wall]


def test_no_rooms_run_in_a_circle():
    """Imports for type checking count here, which the linter leaves out."""
    house = survey()
    assert house.circles == []
    assert not [room for room, others in house.arrows.items() if "eebench" in others], "the front door is for users"


def test_typing_only_imports_of_the_measures_are_of_the_contract():
    assert survey().arrows["eebench.measure"] <= {"eebench.api", "eebench.errors"}


def test_measures_and_report_load_no_torch():
    """What an import does, however the module is named: the linter reads the text alone."""
    code = (
        "import pkgutil, sys, importlib\n"
        "for room in ('measure', 'report'):\n"
        "    package = importlib.import_module(f'eebench.{room}')\n"
        "    for module in pkgutil.walk_packages(package.__path__, f'eebench.{room}.'):\n"
        "        importlib.import_module(module.name)\n"
        "print(*(m for m in ('torch', 'timm', 'transformers', 'eebench.api', 'eebench.engine') if m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == ""
