"""What a reader of the results must know of a run before it starts: who is treated otherwise than was asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eebench.errors import UserError
from eebench.measure.drops import smallest_resolvable

if TYPE_CHECKING:
    from eebench.runs.prepare import Prepared

__all__ = ["remarks"]


def remarks(prepared: Prepared) -> list[str]:
    """Everything there is to say, a sentence each.

    Raises:
        UserError: ``--thresholds`` were given, and nobody has one.
    """
    said = (_longer, _recipe_notes, _unmatched, _unresolved, _unswept)
    return [line for find in said for line in find(prepared)]


def _longer(prepared: Prepared) -> list[str]:
    """Methods that train longer than the others, having more phases than the budget has epochs."""
    if prepared.released is not None:
        return []
    found = []
    total = prepared.method_epochs()
    for chosen in prepared.methods:
        if chosen.label in prepared.skips or (prepared.paper(chosen) is not None and prepared.spec.epochs is None):
            continue
        phases = len(chosen.method.phases(prepared.data.task))
        if phases > total:
            found.append(f"{chosen.label} trains {phases} epochs, not {total}: one for each of its phases")
    return found


def _unmatched(prepared: Prepared) -> list[str]:
    """Under ``--match-exits``: who keeps exits of its own."""
    if prepared.spec.match_exits is None:
        return []
    own = [c.label for c in prepared.methods if c.label not in prepared.skips and not c.places_exits]
    return [f"--match-exits: {', '.join(own)} cannot be told where its exits are, and keeps its own"] if own else []


def _unresolved(prepared: Prepared) -> list[str]:
    """Targets that so few validation samples cannot vouch for, whatever the method."""
    spec, samples = prepared.spec, len(prepared.data.val)
    if spec.choose == "naive" or prepared.data.task.metric != "accuracy":
        return []
    least = 100 * smallest_resolvable(samples, spec.level)
    asked = [target for target in prepared.targets if target.kind == "drop"]
    return [
        f"{target.name}: {samples} validation samples vouch for no drop below {least:.2f} points; nobody can meet it"
        for target in asked
        if target.value < least
    ]


def _recipe_notes(prepared: Prepared) -> list[str]:
    """Under ``--budget paper``: who is trained otherwise than a paper says, and why."""
    spec, notes = prepared.spec, []
    for label, one in prepared.fitted.items():
        if one.paper is None:
            notes.append(f"{label} has no paper's recipe here ({one.words.removeprefix('none: ')} trains it)")
    own = [label for label, one in prepared.fitted.items() if one.paper is not None]
    asked = {"--epochs": spec.epochs, "--lr": spec.lr, "--batch-size": spec.batch_size}
    given = [f"{option} {value:g}" for option, value in asked.items() if value is not None]
    if own and given:
        notes.append(f"{', '.join(given)} instead of the papers' own for {', '.join(own)}")
    return notes


def _unswept(prepared: Prepared) -> list[str]:
    """Who cannot follow ``--thresholds``: a knob in whole numbers (patience) keeps its own grid.

    Raises:
        UserError: nobody can.
    """
    if prepared.spec.thresholds is None:
        return []
    task = prepared.data.task
    asked = [chosen for chosen in prepared.methods if chosen.label not in prepared.skips]
    own = [c.label for c in asked if c.pinned is not None or c.rule(task).knob.integer]
    if asked and len(own) == len(asked):
        raise UserError(f"--thresholds: none of {', '.join(own)} has a threshold to sweep")
    return [f"--thresholds do not apply to {', '.join(own)}: their knobs keep their own values"] if own else []
