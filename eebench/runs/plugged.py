"""Plugins as a record knows them: where each lay and what it held, so that an edited one is another run."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from eebench.api import Backbone, Method
from eebench.discovery import Plugin, origin_of
from eebench.runs.fingerprint import method_sha256

__all__ = ["missing", "recorded", "stamp"]

STAMP = re.compile(r"(.+)@([0-9a-f]{64})")


def stamp(plugin: Plugin) -> str:
    """``PATH@SHA256`` of a file as it was named, ``MODULE.CLASS@SHA256`` of a class given from Python."""
    if isinstance(plugin, Path):
        return f"{plugin.as_posix()}@{_sha256(plugin)}"
    known = issubclass(plugin, (Method, Backbone))
    code = method_sha256(plugin) if known else hashlib.sha256(origin_of(plugin).encode()).hexdigest()
    return f"{origin_of(plugin)}@{code}"  # a data set is known by its content


def recorded(stamps: Sequence[str]) -> list[Path]:
    """Those plugin files of a record that still lie where they lay, unchanged. Nothing else is ever imported for it."""
    found = []
    for text in stamps:
        match = STAMP.fullmatch(text)
        path = Path(match[1]) if match else None
        if match and path is not None and path.is_file() and _sha256(path) == match[2]:
            found.append(path)
    return found


def missing(stamps: Sequence[str], have: Sequence[Path]) -> list[str]:
    """Names of a record's plugins that are not among those at hand."""
    at_hand = {_sha256(path) for path in have if path.is_file()}
    matches = (STAMP.fullmatch(text) for text in stamps)
    return [match[1] for match in matches if match and match[2] not in at_hand]


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
