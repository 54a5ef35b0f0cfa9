"""Records of schema version 2, read as version 3: targets renamed, shares in a table of their own."""

from __future__ import annotations

import re

import pandas as pd

__all__ = ["upgrade"]

_TARGETS = {"drop_1pt": "drop_1"}


def upgrade(tables: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """The tables of a version 2 record as version 3 has them; what version 2 did not measure stays absent."""
    renamed = {}
    for name, table in tables.items():
        columns = [column for column in ("target", "path") if column in table]
        renamed[name] = table.assign(**{column: table[column].replace(_TARGETS) for column in columns})
    exits = renamed["exits"]
    found = [name for name in map(str, exits) if re.match(r"(share|accuracy)_", name)]
    renamed["shares"] = _shares(exits[exits["split"] == "test"])
    renamed["exits"] = exits.drop(columns=found)
    return renamed


def _shares(exits: pd.DataFrame) -> pd.DataFrame:
    """One row a (method, seed, target, exit) from the columns ``share_<target>`` and ``accuracy_<target>``."""
    parts = []
    for column in map(str, exits):
        if column.startswith("share_"):
            target = column.removeprefix("share_")
            part = exits[["method", "seed", "exit"]].assign(
                target=_TARGETS.get(target, target),
                share=pd.to_numeric(exits[column]),
                accuracy=pd.to_numeric(exits[f"accuracy_{target}"]),
            )
            parts.append(part.dropna(subset=["share"]))
    names = ["method", "seed", "target", "exit", "share", "accuracy"]
    return pd.concat(parts, ignore_index=True)[names] if parts else pd.DataFrame(columns=names)
