"""What is built from the sources: a source distribution, and from that alone the wheel."""

import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.rooms import PACKAGES, ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
NAME = f"{PROJECT['name']}-{PROJECT['version']}"


def build(kind: str, source: Path, out: Path) -> Path:
    """A distribution built by the project's own backend, without a network."""
    code = (
        f"import sys; from setuptools import build_meta; print(build_meta.build_{kind}(sys.argv[1]), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(out)], cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out / done.stderr.strip().splitlines()[-1]


def files(folder: Path) -> set[str]:
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


@pytest.fixture(scope="module")
def sdist(tmp_path_factory) -> Path:
    """The source distribution, unpacked, of the checkout as a clone would be: sources and what lies beside them."""
    clone = tmp_path_factory.mktemp("clone")
    for source in (*PACKAGES.values(), "tests"):
        shutil.copytree(ROOT / source, clone / source, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for path in ROOT.iterdir():
        if path.is_file() and path.name != ".git":
            shutil.copy(path, clone)
    archive = build("sdist", clone, tmp_path_factory.mktemp("sdist"))
    with tarfile.open(archive) as tar:
        tar.extractall(archive.parent, filter="data")
    return archive.parent / NAME


@pytest.fixture(scope="module")
def wheel(sdist, tmp_path_factory) -> set[str]:
    """Names of the files in the wheel that is built from the source distribution."""
    with zipfile.ZipFile(build("wheel", sdist, tmp_path_factory.mktemp("wheel"))) as archive:
        return set(archive.namelist())


def test_the_source_distribution_has_all_sources_and_no_tests(sdist):
    found = files(sdist)
    for folder in PACKAGES.values():
        assert {name for name in found if name.startswith(f"{folder}/")} == {
            f"{folder}/{name}" for name in files(ROOT / folder)
        }
    beside = {name for name in found if name.split("/")[0] not in (*PACKAGES.values(), "eebench.egg-info")}
    assert beside == {
        "CHANGELOG.md", "CITATION.cff", "LICENSE", "MANIFEST.in", "PKG-INFO", "README.md", "pyproject.toml",
        "setup.cfg", "setup.py",
    }  # fmt: skip


def test_the_wheel_holds_both_packages_whole(wheel):
    """Every module, every card and template, and the marks that say they are typed."""
    for name, folder in PACKAGES.items():
        assert {path for path in wheel if path.startswith(f"{name}/")} == {
            f"{name}/{path}" for path in files(ROOT / folder)
        }
        assert f"{name}/py.typed" in wheel
    assert {path.split("/")[0] for path in wheel} == {*PACKAGES, f"{NAME}.dist-info"}


def test_every_method_is_an_entry_point_with_a_card(wheel):
    points = PROJECT["entry-points"]["eebench.methods"]
    folders = {path.split("/")[1] for path in wheel if path.startswith("eebench_methods/") and path.count("/") == 2}
    assert set(points) == folders
    assert all(f"eebench_methods/{name}/README.md" in wheel for name in points)


def test_the_version_is_written_once():
    import eebench

    assert eebench.__version__ == PROJECT["version"]
    assert PROJECT["version"] in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert "version:" not in (ROOT / "CITATION.cff").read_text(encoding="utf-8").replace("cff-version:", "")
    assert "__version__ =" not in (ROOT / "eebench/__init__.py").read_text(encoding="utf-8")
