"""What methods declare to need, and the one sentence that says what is missing."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eebench.api import Backbone, Method, Task

__all__ = ["NEEDS", "unmet"]

NEEDS: dict[str, tuple[str, Callable[[Backbone, Task], bool]]] = {
    "classes": ("class probabilities, which a regression has not", lambda _, task: task.kind != "regression"),
    "grid": ("a patch grid, which text has not", lambda net, _: all(layout.grid for layout in net.layouts)),
    "class_token": ("a class token, which this backbone has not", lambda net, _: all(x.cls for x in net.layouts)),
    "one_width": (
        "the same width behind every block, which a pyramid has not",
        lambda net, _: len({layout.dim for layout in net.layouts}) == 1,
    ),
    "text": ("text, and this backbone takes images", lambda net, _: net.modality == "text"),
}
"""By name as ``Method.needs`` has it: what is needed, and whether a backbone and a task have it."""


def unmet(method: Method, backbone: Backbone, task: Task) -> str | None:
    """Why a method does not run here, in one clause; None when it does."""
    if backbone.depth < 2:
        return "there is no block before the last to exit from"
    missing = [words for name, (words, has) in NEEDS.items() if name in method.needs and not has(backbone, task)]
    return f"it needs {' and '.join(missing)}" if missing else None
