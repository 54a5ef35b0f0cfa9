"""The register: published cells from the files beside this one, and the claims that methods' cards quote."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from eebench.errors import UserError
from eebench.plugins.cards import read_card
from eebench.plugins.registry import Registry

__all__ = ["ExitCounts", "PublishedCell", "Ratio", "read_file", "register"]

HERE = Path(__file__).parent


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ExitCounts(_Entry):
    """How many samples stopped behind each block, and the speed-ups that these counts must give."""

    kind: Literal["exit counts"]
    backbone: str
    classes: int
    image_size: int
    blocks: list[int]
    counts: list[int]
    speedup_layers: float
    speedup_macs: float

    @model_validator(mode="after")
    def _fits(self) -> ExitCounts:
        if len(self.blocks) != len(self.counts) or min(self.counts) < 0 or not sum(self.counts):
            raise ValueError("as many counts as blocks, none below 0 and not all 0")
        return self


class Ratio(_Entry):
    """A gain that is printed beside the two numbers it is the ratio of."""

    kind: Literal["ratio"]
    over: float
    under: float = Field(gt=0)
    gain: float


class PublishedCell(_Entry):
    """One published cell: where it stands, what is printed, and how it is checked, if it can be."""

    id: str
    method: str
    paper: str
    where: str
    setting: str
    printed: dict[str, float | str | None] = {}
    needs: str = ""
    check: Annotated[ExitCounts | Ratio, Field(discriminator="kind")] | None = None


def register(registry: Registry, files: Sequence[Path] | None = None) -> list[PublishedCell]:
    """Every published cell that is known: the files' first, then what the installed methods' cards quote.

    Args:
        registry: the methods.
        files: TOML files; those that come along when not given.

    Raises:
        UserError: a file that cannot be read, or one id twice.
    """
    paths = sorted(HERE.glob("*.toml")) if files is None else files
    cells = [cell for path in paths for cell in read_file(path)]
    cells += [cell for name in registry.sources for cell in _of_card(name, read_card(registry.get(name)))]
    ids = [cell.id for cell in cells]
    twice = sorted({name for name in ids if ids.count(name) > 1})
    if twice:
        raise UserError(f"the published cell '{twice[0]}' is registered twice")
    return cells


def read_file(path: Path) -> list[PublishedCell]:
    """The cells of one file.

    Raises:
        UserError: no such file, no TOML, or an entry that says too little or too much.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"there is no file {path}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise UserError(f"{path} is no readable TOML: {error}") from None
    listed = values.get("cell")
    if not isinstance(listed, list) or set(values) != {"cell"}:
        raise UserError(f"{path} must hold entries [[cell]] and nothing else")
    found = []
    for number, entry in enumerate(listed, start=1):
        try:
            found.append(PublishedCell.model_validate(entry))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise UserError(f"{path}, cell {number}: {where}: {first['msg'].removeprefix('Value error, ')}") from None
    return found


def _of_card(name: str, card: dict[str, Any]) -> list[PublishedCell]:
    """What a card quotes: named here, and checked by a run in that setting alone."""
    claims = card.get("claims") or []
    cells = []
    for number, claim in enumerate(claims if isinstance(claims, list) else [], start=1):
        if not isinstance(claim, dict):
            continue
        keys = ("metric", "score", "baseline", "speedup", "speedup_measure")
        setting = str(claim.get("setting", "?"))
        cells.append(
            PublishedCell(
                id=f"{name}/card/{number}",
                method=name,
                paper=str(card.get("paper", card.get("title", name))),
                where=str(claim.get("source", "its card")),
                setting=setting,
                printed={key: claim.get(key) for key in keys},
                needs=f"weights and data of {setting}",
            )
        )
    return cells
