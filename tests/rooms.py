"""Rooms, floors, arrows and circles of the import graph: ``python -m tests.rooms [checkout]``.

A room is a module or package right under ``eebench``, and ``eebench_methods`` as a whole. An arrow leads from a room to
one it imports from, anywhere in a file and for type checking too. A floor is one more than the highest floor below;
rooms of a circle share one.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grimp
import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

ROOT = Path(__file__).parents[1]
PACKAGES = {"eebench": "eebench", "eebench_methods": "methods"}  # import name -> folder of the checkout


@dataclass(frozen=True)
class House:
    """The import graph, room by room."""

    arrows: dict[str, set[str]]  # room -> rooms it imports
    floors: dict[str, int]  # from 1, the ground
    circles: list[set[str]]  # rooms that reach each other

    def __str__(self) -> str:
        arrows = sum(map(len, self.arrows.values()))
        floors = max(self.floors.values())
        lines = [f"{len(self.arrows)} rooms, {floors} floors, {arrows} arrows, {len(self.circles)} circles"]
        for floor in sorted(set(self.floors.values()), reverse=True):
            lines.append(f"{floor:3}  " + "  ".join(sorted(room for room, at in self.floors.items() if at == floor)))
        lines += ["circle: " + " ".join(sorted(circle)) for circle in self.circles]
        return "\n".join(lines)


def room(module: str) -> str:
    """Where a module lives."""
    parts = module.split(".")
    return parts[0] if parts[0] != "eebench" else ".".join(parts[:2])


def survey(checkout: Path = ROOT) -> House:
    """The house as it stands in a checkout."""
    with _importable(checkout):
        graph = grimp.build_graph(*PACKAGES, cache_dir=None)
    arrows: dict[str, set[str]] = {room(module): set() for module in graph.modules}
    for module in graph.modules:
        arrows[room(module)] |= {room(other) for other in graph.find_modules_directly_imported_by(module)}
    arrows = {at: others - {at} for at, others in sorted(arrows.items())}
    return House(arrows, *_levels(arrows))


def _levels(arrows: dict[str, set[str]]) -> tuple[dict[str, int], list[set[str]]]:
    names = list(arrows)
    edges = [(names.index(at), names.index(other)) for at, others in arrows.items() for other in others]
    rows, columns = np.array(edges, int).reshape(-1, 2).T
    size = len(names)
    matrix = csr_matrix((np.ones(len(edges)), (rows, columns)), shape=(size, size))
    _, label = connected_components(matrix, directed=True, connection="strong")
    groups = [{name for name, at in zip(names, label, strict=True) if at == group} for group in range(label.max() + 1)]
    floors: dict[int, int] = {}

    def floor(group: int) -> int:
        if group not in floors:
            below = {int(label[names.index(other)]) for name in groups[group] for other in arrows[name]} - {group}
            floors[group] = 1 + max(map(floor, below), default=0)
        return floors[group]

    return {name: floor(int(at)) for name, at in zip(names, label, strict=True)}, [g for g in groups if len(g) > 1]


@contextmanager
def _importable(checkout: Path) -> Iterator[None]:
    """Both packages of a checkout under their import names, before any that are installed."""
    with tempfile.TemporaryDirectory() as folder:
        for name, source in PACKAGES.items():
            Path(folder, name).symlink_to(checkout.resolve() / source, target_is_directory=True)
        hidden = {name: sys.modules.pop(name) for name in PACKAGES if name in sys.modules}  # else found where loaded
        sys.path.insert(0, folder)
        try:
            yield
        finally:
            sys.path.remove(folder)
            sys.modules.update(hidden)


if __name__ == "__main__":
    sys.stdout.write(f"{survey(*map(Path, sys.argv[1:2]))}\n")
