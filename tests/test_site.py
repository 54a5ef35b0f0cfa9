"""The documentation site: built strictly, complete, and loading nothing from elsewhere."""

import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from eebench.plugins.registry import Registry
from eebench.schema import TABLES
from tests.rooms import ROOT

pytest.importorskip("mkdocs", reason="the documentation's tools are not installed: pip install '.[docs]'")
pytest.importorskip("mkdocstrings", reason="the documentation's tools are not installed: pip install '.[docs]'")

LOADS = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href", "use": "href"}


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    nowhere = dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9")  # building needs no network
    env = {**os.environ, **nowhere, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(build, cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


class Loaded(HTMLParser):
    """Addresses of what a page loads by itself; links that a reader may follow are none."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag, attrs):
        address = dict(attrs).get(LOADS.get(tag, ""))
        if address:
            self.addresses.append(address)


def test_no_page_loads_anything_from_elsewhere(site):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 30
    for page in pages:
        loaded = Loaded()
        loaded.feed(page.read_text(encoding="utf-8"))
        assert loaded.addresses
        assert not [address for address in loaded.addresses if re.match(r"(https?:)?//", address)], page
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(url\(|@import)\s*[\"']?(https?:)?//", sheet.read_text(encoding="utf-8")), sheet


def test_every_method_has_its_page_and_every_column_its_meaning(site):
    for name, source in Registry.installed().sources.items():
        if source.origin.startswith("eebench "):
            assert (site / "methods" / f"{name}.html").is_file()
    page = (site / "columns.html").read_text(encoding="utf-8")
    assert all(f"{table}.csv" in page for table in TABLES)
    assert all(f"<code>{column}</code>" in page for table in TABLES.values() for column in table)


def test_every_measure_is_in_the_reference(site):
    import eebench.measure

    page = (site / "api" / "measures.html").read_text(encoding="utf-8")
    home = eebench.measure._HOME
    missing = [name for name in eebench.measure.__all__ if f'id="eebench.measure.{home[name]}.{name}"' not in page]
    assert not missing


def test_the_schema_of_study_files_is_published(site):
    from eebench.studies.file import json_schema

    assert json.loads((site / "study.schema.json").read_text(encoding="utf-8")) == json_schema()
