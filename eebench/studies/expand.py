"""From a study file to its runs: the matrix multiplied out, sweeps as methods, what is left out left out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from eebench.errors import UserError, did_you_mean
from eebench.plugins.chosen import split_list
from eebench.plugins.registry import Registry
from eebench.runs.spec import RunSpec, make_spec
from eebench.studies.file import StudyFile

__all__ = ["Entry", "Selection", "entries_of", "narrowed"]

PARTS = {"method": "methods", "seed": "seeds"}  # what of a run can be chosen, and the field that lists it
MOST = 10_000  # runs: more is a slip of the finger


@dataclass(frozen=True)
class Entry:
    """One run of a study."""

    spec: RunSpec
    apart: dict[str, str]  # what tells it from the others

    @property
    def title(self) -> str:
        """Its name for people."""
        return ", ".join(f"{key}={value}" for key, value in self.apart.items()) or self.spec.run_name


@dataclass(frozen=True)
class Selection:
    """Runs, methods and seeds, by what they must be: every key's value among those given."""

    values: dict[str, tuple[str, ...]]

    @classmethod
    def parse(cls, text: str) -> Selection:
        """``backbone=deit_ti,method=lgvit``, as ``--only`` takes it.

        Raises:
            UserError: a key that no run has, or nothing to choose by.
        """
        values: dict[str, tuple[str, ...]] = {}
        for item in split_list(text):
            key, equals, value = item.partition("=")
            key = key.strip().replace("-", "_")
            if not equals or not value.strip():
                raise UserError(f"--only: '{item}' names no value; write KEY=VALUE")
            known = [*(name for name in RunSpec.model_fields if name not in PARTS.values()), *PARTS]
            if key not in known:
                raise UserError(f"--only: no run has a '{key}'{did_you_mean(key, known)}")
            values[key] = (*values.get(key, ()), value.strip())
        if not values:
            raise UserError("--only: empty; write for example backbone=vit_ti,method=lgvit")
        return cls(values)

    @classmethod
    def of(cls, choice: Mapping[str, Any]) -> Selection:
        """From a table of the file, whose values may be lists."""
        return cls({k: tuple(map(_text, v if isinstance(v, list) else [v])) for k, v in choice.items()})

    @property
    def of_runs(self) -> dict[str, tuple[str, ...]]:
        """The keys that choose whole runs."""
        return {key: values for key, values in self.values.items() if key not in PARTS}

    def chooses(self, settings: Mapping[str, Any]) -> bool:
        """Whether a run with these settings is chosen."""
        return all(_text(settings.get(key)) in values for key, values in self.of_runs.items())

    def part(self, key: str, listed: Iterable[Any]) -> list[Any] | None:
        """Those of a run's methods or seeds that are chosen; None when it chooses by something else."""
        if key not in self.values:
            return None
        wanted = {value.replace(" ", "") for value in self.values[key]}
        return [one for one in listed if wanted & _names(one)]

    def __str__(self) -> str:
        return ",".join(f"{key}={'|'.join(values)}" for key, values in self.values.items())


def entries_of(study: StudyFile, registry: Registry) -> list[Entry]:
    """The runs of a study, in the order of its file.

    Raises:
        UserError: in one line: methods, settings or selections that cannot be, nothing left, or a run twice.
    """
    matrix = study.matrix.model_dump(exclude_unset=True)
    count = 1
    for values in matrix.values():
        count *= len(values)
    if count > MOST:
        raise UserError(f"matrix: {count} runs are more than {MOST}")
    own = [dict(zip(matrix, values, strict=True)) for values in product(*matrix.values())]
    settings = [_settled(study, row, registry) for row in own] if matrix or not study.include else []
    for number, choice in enumerate(study.exclude, 1):
        settings = _without(settings, choice.model_dump(exclude_unset=True), f"exclude.{number}")
    settings += [_settled(study, row.model_dump(exclude_unset=True), registry) for row in study.include]
    if not settings:
        raise UserError("no run is left: everything in the matrix is excluded")
    axes = _apart(settings)
    entries = []
    for values in settings:
        apart = {axis: _text(values.get(axis)) for axis in axes}
        where = ", ".join(f"{key}={value}" for key, value in apart.items())
        try:
            entries.append(Entry(make_spec(**values), apart))
        except UserError as error:
            raise UserError(f"{where + ': ' if where else ''}{str(error).removeprefix('--')}") from None
    return _once(entries)


def narrowed(entries: Sequence[Entry], only: Sequence[Selection]) -> list[Entry]:
    """What of a study's runs is chosen by any of the selections: fewer runs, and fewer methods or seeds in them.

    Raises:
        UserError: a selection that chooses nothing.
    """
    if not only:
        return list(entries)
    found: list[Entry] = []
    for selection in only:
        chosen = [part for entry in entries if (part := _part(entry, selection)) is not None]
        if not chosen:
            raise UserError(f"--only: {selection} chooses nothing of this study")
        found += [one for one in chosen if one.spec not in {other.spec for other in found}]
    return found


def _part(entry: Entry, selection: Selection) -> Entry | None:
    settings = entry.spec.model_dump()
    if not selection.chooses(settings):
        return None
    changed: dict[str, Any] = {}
    for key, field in PARTS.items():
        kept = selection.part(key, settings[field])
        if kept == []:
            return None
        if kept is not None:
            changed[field] = tuple(kept)
    return Entry(entry.spec.model_copy(update=changed), entry.apart)


def _settled(study: StudyFile, row: dict[str, Any], registry: Registry) -> dict[str, Any]:
    """Settings of one run: the defaults, then those of its backbone and its data set, then its own."""
    defaults = study.defaults.model_dump(exclude_unset=True)
    named = {**defaults, **row}
    found = dict(defaults)
    for table, field in ((study.backbones, "backbone"), (study.datasets, "dataset")):
        name = named.get(field, RunSpec.model_fields[field].default)
        if name in table:
            found |= table[name].model_dump(exclude_unset=True)
    found |= row
    found["methods"] = _methods(found.get("methods", RunSpec.model_fields["methods"].default), study, registry)
    seeds = found.get("seeds", RunSpec.model_fields["seeds"].default)
    found["seeds"] = (seeds,) if isinstance(seeds, int) else tuple(seeds)
    return found


def _methods(asked: Any, study: StudyFile, registry: Registry) -> tuple[str, ...]:
    """Methods as they are typed, ``all`` by their names, with those that sweeps add behind the one they vary."""
    names = split_list(asked) if isinstance(asked, str) else [part for one in asked for part in split_list(one)]
    if "all" in names:
        every = [chosen.label for chosen in registry.choose("all")]
        names = [name for one in names for name in (every if one == "all" else [one])]
    for method, options in study.sweep.items():
        registry.get(method)
        if not options or not all(options.values()):
            raise UserError(f"sweep.{method}: is empty; give at least one value of one option")
        grid = product(*options.values())
        added = [f"{method}[{_options(dict(zip(options, values, strict=True)))}]" for values in grid]
        place = names.index(method) + 1 if method in names else len(names)
        names[place:place] = added
    if not names:
        return ()  # which RunSpec refuses in its own words
    return tuple(chosen.label for chosen in registry.choose(",".join(names)))


def _options(values: Mapping[str, Any]) -> str:
    return ",".join(f"{key}={_text(value)}" for key, value in values.items())


def _without(settings: list[dict[str, Any]], choice: dict[str, Any], where: str) -> list[dict[str, Any]]:
    """Settings without what an entry of ``exclude`` chooses."""
    selection = Selection.of(choice)
    if not selection.values:
        raise UserError(f"{where}: is empty; it would leave out everything")
    if len(selection.values.keys() & PARTS.keys()) > 1:
        raise UserError(f"{where}: leaves out methods or seeds, not both at once: every method of a run has its seeds")
    found, hits = [], 0
    for values in settings:
        if not selection.chooses(values):
            found.append(values)
            continue
        parts = {field: chosen for key, field in PARTS.items() if (chosen := selection.part(key, values[field]))}
        if not selection.values.keys() & PARTS.keys():
            hits += 1
            continue
        hits += len(parts)
        kept = {field: tuple(one for one in values[field] if one not in chosen) for field, chosen in parts.items()}
        if all(kept.values()):
            found.append(values | kept)
    if not hits:
        raise UserError(f"{where}: {selection} chooses nothing of the matrix")
    return found


def _apart(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """Fields that tell runs apart, as few as do: backbone and data set first, methods and seeds last."""
    rest = [field for field in RunSpec.model_fields if field not in PARTS.values()]
    found: list[str] = []
    for field in dict.fromkeys(["backbone", "dataset", *rest, *PARTS.values()]):
        if len({_key(values, found) for values in settings}) == len(settings):
            break
        if len({_text(values.get(field)) for values in settings}) > 1:
            found.append(field)
    return found


def _key(settings: Mapping[str, Any], fields: Sequence[str]) -> tuple[str, ...]:
    return tuple(_text(settings.get(field)) for field in fields)


def _once(entries: list[Entry]) -> list[Entry]:
    seen: dict[RunSpec, int] = {}
    for number, entry in enumerate(entries, 1):
        first = seen.setdefault(entry.spec, number)
        if first != number:
            raise UserError(f"runs {first} and {number} of the study are the same: {entry.title}")
    return entries


def _names(one: Any) -> set[str]:
    """What a method or a seed may be called by: its whole label, or its name without options."""
    text = _text(one).replace(" ", "")
    return {text, text.partition("[")[0]}


def _text(value: Any) -> str:
    """A value as it is typed on the command line."""
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return "+".join(map(_text, value))
    return f"{value:.12g}" if isinstance(value, float) else str(value)
