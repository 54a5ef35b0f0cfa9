"""What is written about a study beside its runs: ``<results>/<name>/study.json``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from eebench.errors import UserError
from eebench.files import read_json, write_json
from eebench.studies.file import VERSION

__all__ = ["STUDY", "StudyRecord", "StudyRun", "Where", "read_study_record", "runs_of", "write_study_record"]

STUDY = "study.json"


class StudyRun(BaseModel):
    """One run of a study."""

    model_config = ConfigDict(extra="forbid")

    run: str | None  # its folder, beside the study's; None until it was planned here: its name depends on the data
    apart: dict[str, str]  # what tells it from the study's other runs
    spec: dict[str, Any]

    @property
    def title(self) -> str:
        """Its name for people."""
        return self.run or ", ".join(f"{key}={value}" for key, value in self.apart.items()) or "the run"


class StudyRecord(BaseModel):
    """A study: which runs it consists of. Their results are in their own folders."""

    model_config = ConfigDict(extra="forbid")

    schema_version: int = VERSION
    name: str
    runs: list[StudyRun]


@dataclass(frozen=True)
class Where:
    """The runs behind a path: those of a study that are finished, or the one run."""

    name: str
    runs: list[Path]
    unfinished: list[str]


def write_study_record(results: Path, record: StudyRecord) -> Path:
    """Write a study's record into its folder under ``results``."""
    folder = results / record.name
    folder.mkdir(parents=True, exist_ok=True)
    return write_json(folder / STUDY, record.model_dump(mode="json"))


def read_study_record(folder: Path) -> StudyRecord:
    """The record of a study's folder.

    Raises:
        UserError: no study.json, one that is damaged or of another version.
    """
    path = folder / STUDY
    values = read_json(path)
    version = values.get("schema_version") if isinstance(values, dict) else None
    if version != VERSION:
        raise UserError(f"{path} has schema version {version}; this eebench reads version {VERSION}")
    try:
        return StudyRecord.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"{path} is damaged: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def runs_of(path: Path) -> Where:
    """The finished runs of a study's folder, or the run itself.

    Raises:
        UserError: neither a run nor a study.
    """
    if (path / STUDY).exists():
        record = read_study_record(path)
        done, unfinished = [], []
        for run in record.runs:
            folder = path.parent / (run.run or "")
            if run.run is not None and (folder / "run.json").exists():
                done.append(folder)
            else:
                unfinished.append(run.title)
        return Where(record.name, done, unfinished)
    if not (path / "run.json").exists():
        raise UserError(f"{path} is neither a run (run.json) nor a study ({STUDY})")
    return Where(path.name, [path], [])
