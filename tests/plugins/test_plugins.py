"""Methods from outside: a separately installed distribution, a single file, a broken one."""

import os
import subprocess
import sys

import pytest

from eebench.errors import UserError
from eebench.plugins.registry import Registry
from eebench.plugins.scaffold import write_method


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A distribution as ``eebench new`` writes it, really installed, into a folder of its own."""
    folder = tmp_path_factory.mktemp("new")
    write_method("stranger", folder, one_file=False)
    target = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--target", str(target), str(folder / "eebench-stranger")], check=True, timeout=300)
    return target


def eebench(*words, site=None):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    if site is not None:
        environment["PYTHONPATH"] = str(site)
    code = "import sys; sys.argv[0] = 'eebench'; from eebench.cli import main; main()"
    command = [sys.executable, "-c", code, *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)


def test_an_installed_distribution_brings_its_method(site):
    listed = eebench("list", "methods", site=site)
    assert listed.returncode == 0
    assert "stranger" in listed.stdout
    assert "pabee" in listed.stdout
    card = eebench("show", "stranger", site=site)
    assert card.stdout.startswith("# stranger")


def test_it_passes_the_check_and_runs_beside_a_built_in_method(site, tmp_path):
    checked = eebench("check", "stranger", "--backbone", "vit", site=site)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    folders = ("--results", str(tmp_path / "results"), "--reports", str(tmp_path / "reports"))
    done = eebench("run", "--methods", "stranger,pabee", "--budget", "smoke", *folders, site=site)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "stranger" in done.stdout


def test_it_comes_with_a_test_that_passes(site, tmp_path):
    write_method("stranger", tmp_path, one_file=False)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(site)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "vit or text"]
    folder = tmp_path / "eebench-stranger"
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout
    assert "passed" in done.stdout


def test_without_the_distribution_it_is_unknown():
    assert "stranger" not in Registry.installed().sources


def test_one_file_is_enough(tmp_path):
    write_method("solo", tmp_path, one_file=True)
    registry = Registry.installed([tmp_path / "solo.py"])
    chosen = registry.choose("solo[dropout=0.1]")[0]
    assert chosen.method.dropout == 0.1


def test_a_broken_plugin_is_named_and_set_aside(tmp_path):
    path = tmp_path / "bad.py"
    path.write_text("import a_library_that_is_not_there\n", encoding="utf-8")
    listed = eebench("list", "methods", "--plugin", str(path))
    assert listed.returncode == 0
    assert "pabee" in listed.stdout
    assert "bad.py" in listed.stderr
    asked = eebench("run", "--plugin", str(path), "--methods", "pabee")
    assert asked.returncode == 2
    assert len(asked.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("name", ["My-Method", "class", "Upper", "1st", ""])
def test_new_refuses_a_name_that_is_none(name, tmp_path):
    with pytest.raises(UserError, match="no method name"):
        write_method(name, tmp_path, one_file=True)


@pytest.mark.parametrize("name", ["pabee", "all", "backbone", "_"])
def test_new_refuses_a_name_that_is_taken(name, tmp_path):
    with pytest.raises(UserError, match=r"already|begin it with a letter"):
        write_method(name, tmp_path, one_file=True)


def test_new_overwrites_nothing(tmp_path):
    write_method("twice", tmp_path, one_file=True)
    with pytest.raises(UserError, match="there already"):
        write_method("twice", tmp_path, one_file=True)
