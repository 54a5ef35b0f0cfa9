"""One look a method, in every report the same: colour, marker and line style follow from its name alone."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["COLOURS", "DASHES", "GHOST", "GRID", "INK", "MARKERS", "MUTED", "PAPER", "PARTS", "Look", "looks"]

COLOURS = ("#6379e9", "#e57300", "#009980", "#9e532e", "#7733ff", "#2e799e")
"""At least 3:1 against both pages, and far apart with and without red-green vision; tests measure it."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h", "d")
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.2, 1, 1.2)), (0, (8, 1.5)))
PARTS = {"backbone": ("#2e799e", ""), "heads": ("#e57300", "//"), "gates": ("#9e532e", "xx")}

INK, MUTED, GRID, GHOST, PAPER = "#1a1c21", "#595f69", "#dfe2e7", "#c3c8d0", "#fefefd"

_SALT = "16033"  # the first number under which the methods that ship have eleven markers and eleven kinds of line


@dataclass(frozen=True)
class Look:
    """How one method is drawn; ``index`` is its place in the report."""

    index: int
    method: str
    label: str
    colour: str
    marker: str
    dash: Any  # a matplotlib line style

    @property
    def strokes(self) -> str:
        """The line style as SVG has it, for a line 1.6 pixels wide; empty for a solid one."""
        return "" if isinstance(self.dash, str) else " ".join(f"{1.6 * length:g}" for length in self.dash[1])

    @property
    def gid(self) -> str:
        """The SVG group name that becomes the class ``s<index>`` in a page."""
        return f"series-{self.index}"


def looks(methods: Sequence[str], labels: dict[str, str]) -> dict[str, Look]:
    """A look a method. Variants of one method share its colour; a marker taken within a report moves to the next."""
    taken: set[str] = set()
    found = {}
    for i, method in enumerate(methods):
        name = method.partition("[")[0]
        colour, dash, _ = _digest(name)
        marker = _digest(name)[2] if name == method else _digest(method)[2]
        for step in range(len(MARKERS)):
            shape = MARKERS[(marker + step) % len(MARKERS)]
            if shape not in taken:
                break
        taken.add(shape)
        found[method] = Look(i, method, labels[method], COLOURS[colour], shape, DASHES[dash])
    return found


def _digest(name: str) -> tuple[int, int, int]:
    """Colour, line style and marker by number."""
    digest = hashlib.sha256(f"{_SALT}/{name}".encode()).digest()
    return digest[0] % len(COLOURS), digest[1] % len(DASHES), digest[2] % len(MARKERS)
