"""Imports of strangers' code, tried in a process of their own: one that ends it, or never ends, is found out there.

An import that raises is no matter for this: whoever imports it catches that. This is for ``os._exit``, a crash in a
compiled library, an endless loop.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path

from eebench.discovery import CONTRACTS, Plugin
from eebench.errors import UserError
from eebench.plugins.registry import GROUP, Registry

__all__ = ["PATIENCE", "Import", "tried_registry", "try_imports"]

PATIENCE = 120.0  # seconds that all imports of a process may take

_CODE = """
import sys
from eebench.discovery import import_file
from importlib import import_module
from pathlib import Path
sys.path[:] = {path!r}
for number, (kind, what) in enumerate({imports!r}):
    print(number, file=open({progress!r}, "w"))
    try:
        import_file(Path(what)) if kind == "file" else import_module(what)
    except BaseException:
        pass
print("all", file=open({progress!r}, "w"))
"""


@dataclass(frozen=True)
class Import:
    """Something to import."""

    words: str  # for people: "plugin odd.py"
    file: Path | None = None  # a plugin file; else
    module: str = ""  # a module


def tried_registry(plugins: Sequence[Plugin], asked: Sequence[str], others: Sequence[str] = ()) -> Registry:
    """Every method there is, what is asked for having been imported in a process of its own first.

    With nothing but eebench's own methods no process is started.

    Args:
        plugins: plugin files, and classes.
        asked: names of methods, or ``all``.
        others: names of a data set and a backbone, which installed packages may bring as well.

    Raises:
        UserError: a plugin file, or something asked for by name, ends the process that imports it. Of ``all`` such a
            method is set aside.
    """
    files = [Import(f"plugin {path}", path) for path in plugins if isinstance(path, Path) and path.is_file()]
    points = [point for group in CONTRACTS for point in entry_points(group=group)]
    foreign = [point for point in points if point.module.partition(".")[0] != "eebench_methods"]
    wanted = {*asked, *others}
    named = [p for p in foreign if p.name in wanted or ("all" in wanted and p.group == GROUP)]
    modules = {p.name: Import(f"'{p.name}' ({p.dist.name if p.dist else p.value})", module=p.module) for p in named}
    imports = [*files, *modules.values()]
    deadly = try_imports(imports) if imports else {}
    for culprit, why in deadly.items():
        if culprit.file is not None or "all" not in wanted:
            raise UserError(why)
    registry = Registry.installed(plugins)
    registry.deadly = {name: deadly[imported] for name, imported in modules.items() if imported in deadly}
    return registry


def try_imports(imports: Sequence[Import], patience: float = PATIENCE) -> dict[Import, str]:
    """Import everything, each behind the others, in as many processes as it takes.

    Args:
        imports: what to import.
        patience: seconds that may take.

    Returns:
        Those that ended their process or never ended, and why; an import that merely raises is not among them.
    """
    deadly: dict[Import, str] = {}
    left = list(imports)
    with tempfile.TemporaryDirectory() as folder:
        while left:
            progress = Path(folder) / "progress"
            how = _process(left, progress, patience)
            if how is None:
                break
            said = progress.read_text().strip() if progress.exists() else ""
            if not said.isdigit():  # not one of them: the interpreter itself does not start, or does not end
                break
            culprit = left[int(said)]
            deadly[culprit] = f"{culprit.words} cannot be imported: {how}"
            left.remove(culprit)
    return deadly


def _process(imports: Sequence[Import], progress: Path, patience: float) -> str | None:
    """Import in a process; how it ended, None when all were imported."""
    what = [("module", i.module) if i.file is None else ("file", str(i.file.resolve())) for i in imports]
    code = _CODE.format(path=sys.path, imports=what, progress=str(progress))
    progress.unlink(missing_ok=True)
    try:
        done = subprocess.run(
            [sys.executable, "-c", code],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=patience,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"it does not end within {patience:g} s"
    if progress.exists() and progress.read_text().strip() == "all":
        return None
    status = done.returncode
    ended = signal.Signals(-status).name if status < 0 else f"exit status {status}"
    return f"it ends the process ({ended})"
