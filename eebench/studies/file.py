"""A study file, TOML or YAML: settings that all its runs share, and the matrix that tells them apart.

Its settings are the fields of :class:`eebench.runs.spec.RunSpec`, by the names that the command line has for them, and
are checked by the same models. ``docs/studies.md`` explains every table, ``eebench new study`` writes a commented file.
"""

from __future__ import annotations

import re
import tomllib
from functools import reduce
from operator import or_
from pathlib import Path
from types import GenericAlias, NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from eebench.errors import UserError, did_you_mean
from eebench.runs.spec import RunSpec

__all__ = ["SUFFIXES", "VERSION", "StudyFile", "json_schema", "read_study"]

VERSION = 1
SUFFIXES = (".toml", ".yaml", ".yml")
NAME = re.compile(r"[A-Za-z0-9][\w.-]*")
_ADDED = {"include", "exclude", "plugins"}  # lists that a file adds to those it extends
_LISTS = {"methods", "seeds"}  # every run of a study has its own list of these: no axis of the matrix


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


def _kinds(annotation: Any) -> list[Any]:
    """The types of a field, apart from None; in place of a list also its one element."""
    parts = get_args(annotation) if NoneType in get_args(annotation) else (annotation,)
    found: list[Any] = []
    for part in parts:
        if get_origin(part) is tuple:
            found += [get_args(part)[0], list[get_args(part)[0]]]  # type: ignore[misc]
        elif part is not NoneType:
            found.append(part)
    return found


def _optional() -> dict[str, Any]:
    """Every field of a RunSpec, none of them needed."""
    fields: dict[str, Any] = {}
    for name, info in RunSpec.model_fields.items():
        kind = reduce(or_, _kinds(info.annotation))
        held = Annotated[kind, *info.metadata] if info.metadata else kind
        fields[name] = (held | None, Field(None, description=info.description))
    return fields


def _axes() -> dict[str, Any]:
    """A list of values for every field that may tell runs apart."""
    found: dict[str, Any] = {}
    for name, (kind, about) in _optional().items():
        if name not in _LISTS:
            found[name] = (GenericAlias(list, (kind,)), Field(None, min_length=1, description=about.description))
    return found


def _choice() -> dict[str, Any]:
    """What exclude may name: a value or several of any field, a method or a seed."""
    return dict.fromkeys((*(n for n in RunSpec.model_fields if n not in _LISTS), "method", "seed"), (Any, None))


Settings: Any = create_model("Settings", __base__=_Strict, **_optional())
Axes: Any = create_model("Axes", __base__=_Strict, **_axes())
Choice: Any = create_model("Choice", __base__=_Strict, **_choice())


class StudyFile(_Strict):
    """What a study file holds, its ``extends`` resolved."""

    model_config = ConfigDict(extra="forbid", title="eebench study", validate_default=False)

    study: Literal[1] = Field(description="version of this format")
    name: str | None = Field(None, description="name of the study's folder under --results; the file's name without it")
    extends: str | list[str] = Field((), description="study files, relative to this one, that it adds to")  # type: ignore[assignment]
    plugins: list[str] = Field([], description="Python files with methods, backbones or data sets, as --plugin")
    defaults: Settings = Field(default_factory=Settings, description="settings of every run")
    matrix: Axes = Field(default_factory=Axes, description="lists of values: a run for every combination")
    include: list[Settings] = Field([], description="runs beside the matrix")
    exclude: list[Choice] = Field([], description="what of the matrix is left out: runs, or methods or seeds of runs")
    sweep: dict[str, dict[str, list[Any]]] = Field({}, description="options of a method: one method a combination")
    backbones: dict[str, Settings] = Field({}, description="settings of every run with that backbone")
    datasets: dict[str, Settings] = Field({}, description="settings of every run on that data set")


def json_schema() -> dict[str, Any]:
    """The JSON schema of a study file, for editors that complete and check."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **StudyFile.model_json_schema()}


def read_study(path: Path) -> StudyFile:
    """Read a study file and those it extends.

    Raises:
        UserError: in one line: no such file, no TOML or YAML, another version, an unknown key (with the nearest one),
            a value that cannot be, an empty list, files that extend each other in a circle.
    """
    merged = _merged(path, ())
    name = merged.setdefault("name", path.stem)
    try:
        found = StudyFile.model_validate(merged)
    except ValidationError as error:
        raise UserError(f"{path}: {_words(error)}") from None
    if not NAME.fullmatch(str(name)):
        raise UserError(
            f"{path}: name: '{name}' is no name for a folder: a letter or digit, then also '_', '-' and '.'"
        )
    return found


def _merged(path: Path, above: tuple[Path, ...]) -> dict[str, Any]:
    """The file's content on top of what it extends. Tables are merged, include and exclude added to."""
    real = path.resolve()
    if real in above:
        circle = " → ".join(file.name for file in (*above[above.index(real) :], real))
        raise UserError(f"{path}: study files extend each other in a circle: {circle}")
    own = _read(path)
    extends = own.pop("extends", [])
    names = [extends] if isinstance(extends, str) else extends
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UserError(f"{path}: extends: takes the name of a study file, or a list of them")
    base: dict[str, Any] = {}
    for name in names:
        below = _merged(path.parent / name, (*above, real))
        below.pop("name", None)  # a study goes by its own name
        base = _over(base, below)
    return _over(base, own)


def _over(base: dict[str, Any], top: dict[str, Any], deep: int = 0) -> dict[str, Any]:
    found = dict(base)
    for key, value in top.items():
        old = found.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            found[key] = _over(old, value, deep + 1)
        elif (
            deep == 0 and key in ("include", "exclude", "plugins") and isinstance(old, list) and isinstance(value, list)
        ):
            found[key] = [*old, *value]
        else:
            found[key] = value
    return found


def _read(path: Path) -> dict[str, Any]:
    """One file's content, of a version that can be read."""
    if path.suffix not in SUFFIXES:
        raise UserError(f"{path}: a study is a file that ends in {', '.join(SUFFIXES)}")
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"no study file {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None
    try:
        values = tomllib.loads(text) if path.suffix == ".toml" else yaml.load(text, _Loader)
    except (tomllib.TOMLDecodeError, yaml.YAMLError) as error:
        kind = "TOML" if path.suffix == ".toml" else "YAML"
        raise UserError(f"{path} is no {kind}: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise UserError(f"{path} is no study: it holds no table of settings")
    version = values.get("study")
    if version is None:
        raise UserError(f"{path} lacks 'study', the version of its format: study = {VERSION}")
    if version != VERSION or isinstance(version, bool):
        raise UserError(f"{path} has version {version} of the study format; this eebench reads version {VERSION}")
    return values


class _Loader(yaml.SafeLoader):
    """YAML in which a key that stands twice is an error, as in TOML."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            name = self.construct_object(key, deep=deep)
            if name in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key '{name}' stands twice", key.start_mark)
            seen.add(name)
        return super().construct_mapping(node, deep=deep)


def _words(error: ValidationError) -> str:
    """The first thing wrong, in one line."""
    errors = error.errors()
    first = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])
    place = [part for part in first["loc"] if not (isinstance(part, str) and "[" in part)]
    where = ".".join(str(part + 1) if isinstance(part, int) else part for part in place)
    if first["type"] == "extra_forbidden":
        key, home = str(place[-1]), ".".join(map(str, place[:-1]))
        return f"{home + ': ' if home else ''}unknown key '{key}'{did_you_mean(key, _known(place))}"
    if first["type"] == "too_short":
        return f"{where}: is empty; give at least one value, or leave it out"
    reason = first["msg"].removeprefix("Value error, ")
    return f"{where}: {reason} (got {first['input']!r})"


def _known(place: list[Any]) -> list[str]:
    """The keys there are where an unknown one was found."""
    if len(place) == 1:
        return list(StudyFile.model_fields)
    model = {"matrix": Axes, "exclude": Choice}.get(str(place[0]), Settings)
    return list(model.model_fields)
