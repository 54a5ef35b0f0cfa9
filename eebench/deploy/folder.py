"""What an exported folder holds: ``deployment.json``, and the files it vouches for. No torch."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from eebench.decisions import Decision, decision_of
from eebench.errors import UserError, shown
from eebench.files import read_json, write_json

__all__ = ["DEPLOYMENT", "FORMATS", "FORMAT_VERSION", "Deployment", "GraphFile", "digest", "read", "write"]

DEPLOYMENT = "deployment.json"
FORMAT_VERSION = 1
FORMATS = {"onnx": ".onnx", "torch": ".pt2"}
"""Formats and how their files' names end."""


@dataclass(frozen=True)
class GraphFile:
    """One graph: its file, its arguments (shape, varying dimensions by name, and numpy type) and its results."""

    file: str
    takes: dict[str, tuple[list[int | str], str]]
    gives: list[str]


@dataclass(frozen=True)
class Deployment:
    """An exported model, as ``deployment.json`` has it."""

    format: str  # onnx or torch
    opset: int | None  # of the ONNX graphs
    method: str
    blocks: list[int]  # block number of each exit, the last one's included
    segments: list[GraphFile]
    answers: list[GraphFile | None]  # of each exit what classifies rows that stop; None: the segment has
    rule: dict[str, Any] | None  # a decision as data, {"python": file}, or None: nothing is decided
    knob_name: str | None
    knob: float | None
    target: str | None  # the operating point whose knob it is
    knobs: dict[str, float]  # of all operating points
    labels: list[str]
    regression: bool
    modality: str  # vision or text
    preprocessing: dict[str, Any] | None
    text: dict[str, Any] | None  # how the tokenizer pads: id, type id and token
    source: dict[str, Any]  # eebench's version, run, seed, backbone and data set it was exported from
    numbers: dict[str, Any]  # of the operating point, on test data
    files: dict[str, dict[str, Any]] = field(default_factory=dict)  # name -> sha256 and bytes
    format_version: int = FORMAT_VERSION

    @property
    def decision(self) -> Decision | None:
        """The rule as data; None where there is no rule, or one in Python."""
        return None if self.rule is None or "python" in self.rule else decision_of(self.rule)


def write(folder: Path, deployment: Deployment) -> None:
    """Write ``deployment.json``, last of all: it lists every other file with its checksum."""
    files = {
        path.name: {"sha256": digest(path), "bytes": path.stat().st_size}
        for path in sorted(folder.iterdir())
        if path.name != DEPLOYMENT
    }
    write_json(folder / DEPLOYMENT, {**asdict(deployment), "files": files})


def read(folder: str | Path) -> Deployment:
    """What a folder holds, every file's checksum verified.

    Raises:
        UserError: no such folder, one of another version, or a file that is missing, cut or another's.
    """
    path = Path(folder)
    if not (path / DEPLOYMENT).is_file():
        raise UserError(f"{shown(path)} holds no exported model (no {DEPLOYMENT}); eebench export makes one")
    values = read_json(path / DEPLOYMENT)
    version = values.get("format_version") if isinstance(values, dict) else None
    if version != FORMAT_VERSION:
        raise UserError(
            f"{shown(path)} is of export version {version}; this eebench runs version {FORMAT_VERSION}: export it again"
        )
    try:
        found = _deployment(values)
        if found.rule is not None and "python" not in found.rule:
            decision_of(found.rule)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{shown(path / DEPLOYMENT)} is damaged: {type(error).__name__}: {error}") from None
    _verify(path, found)
    return found


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _deployment(values: Mapping[str, Any]) -> Deployment:
    segments = [_graph(each) for each in values["segments"]]
    answers = [None if each is None else _graph(each) for each in values["answers"]]
    if not len(segments) == len(answers) == len(values["blocks"]) > 0:
        raise ValueError(f"{len(segments)} segments for {len(values['blocks'])} exits")
    return Deployment(**{**values, "segments": segments, "answers": answers})


def _graph(values: Mapping[str, Any]) -> GraphFile:
    takes = {name: (list(shape), str(kind)) for name, (shape, kind) in values["takes"].items()}
    return GraphFile(str(values["file"]), takes, list(values["gives"]))


def _verify(path: Path, deployment: Deployment) -> None:
    graphs = [*deployment.segments, *(answer for answer in deployment.answers if answer is not None)]
    wanted = {graph.file for graph in graphs}
    if deployment.rule is not None and "python" in deployment.rule:
        wanted.add(deployment.rule["python"])
    if unlisted := sorted(wanted - deployment.files.keys()):
        raise UserError(f"{shown(path / DEPLOYMENT)} is damaged: it gives no checksum for {unlisted[0]}")
    for name, facts in deployment.files.items():
        file = path / name
        if Path(name).name != name or not file.is_file():
            raise UserError(f"{shown(file)} is missing: copy the whole folder, or export it again")
        size = file.stat().st_size
        if size != facts["bytes"]:
            raise UserError(f"{shown(file)} has {size} bytes, not {facts['bytes']}: it was cut, or is another model's")
        if digest(file) != facts["sha256"]:
            raise UserError(f"{shown(file)} is not the file that was exported (its SHA-256 differs)")
