"""Where a report may be written: light, so that it is asked before hours of work rather than after."""

from __future__ import annotations

from pathlib import Path

from eebench.errors import UserError, shown

__all__ = ["check_folder"]

_OURS = {"report.html", "report.md", "figures", "tables"}


def check_folder(out_dir: Path) -> None:
    """Refuse a report folder whose exchange would destroy what no report put there.

    Raises:
        UserError: a file, or a folder that holds something else.
    """
    if out_dir.exists() and not out_dir.is_dir():
        raise UserError(f"report folder {shown(out_dir)} is a file")
    foreign = sorted({path.name for path in out_dir.iterdir()} - _OURS) if out_dir.exists() else []
    if foreign:
        what = f"holds {shown(foreign[0])}, which is no part of a report"
        raise UserError(f"report folder {shown(out_dir)} {what}; choose another folder")
