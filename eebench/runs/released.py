"""Published weights of a method, ``--weights NAME:PATH``: put onto backbone and exits, evaluated without training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from eebench.api import Backbone, Released
from eebench.backbones.checkpoint import read_weights, some
from eebench.backbones.weights import fit_weights
from eebench.engine.model import EarlyExitModel
from eebench.errors import UserError
from eebench.plugins.chosen import Chosen
from eebench.plugins.registry import Registry

__all__ = ["load_exits", "load_released", "read_released", "released_path"]


def released_path(weights: str, registry: Registry) -> tuple[str, Path] | None:
    """Method and file of ``NAME:PATH``; None of anything else."""
    name, colon, path = weights.partition(":")
    return (name, Path(path).expanduser()) if colon and path and name in registry.sources else None


def read_released(
    weights: str, budget: str, registry: Registry, methods: Sequence[Chosen], backbone: Backbone
) -> Released | None:
    """Published weights, sorted by the method that knows their layout; None where a run has none.

    Raises:
        UserError: no such file, weights of a method that is not asked for, a method that knows none, another budget.
    """
    found = released_path(weights, registry)
    if found is None:
        if budget == "none":
            raise UserError("--budget none evaluates published weights: give --weights NAME:PATH, such as lgvit:PATH")
        return None
    name, path = found
    if budget != "none":
        raise UserError(f"--weights {name}:… are evaluated as they were published: add --budget none")
    others = [chosen.label for chosen in methods if chosen.label.partition("[")[0] != name]
    if others:
        raise UserError(f"--weights {name}:… hold exits of {name} alone, not of {others[0]}: --methods {name}")
    if len(methods) != 1:
        raise UserError(f"--weights {name}:… are one model: ask for one {name}")
    state = read_weights(path)
    try:
        return methods[0].method.released(state, backbone)
    except NotImplementedError as error:
        raise UserError(f"--weights {weights}: {error}") from None


def load_released(backbone: Backbone, released: Released, *, name: str, weights: str) -> list[str]:
    """Put the backbone's part in; lines for the log, what was not placed among them.

    Raises:
        UserError: it does not fit, its classifier included.
    """
    source = f"weights '{weights}'"
    lines = fit_weights(backbone, dict(released.net), name=name, source=source)
    new = [line for line in lines if line.startswith("left new")]
    if new:
        raise UserError(f"{source} do not fit {name} on this data: {new[0]} (another number of classes?)")
    lines.append(f"loaded {len(released.exits)} tensors of the exits from {source}")
    return [*lines, *([f"no place found for: {some(released.left, 12)}"] if released.left else [])]


def load_exits(model: EarlyExitModel, released: Released, weights: str) -> None:
    """Put the exits' part in.

    Raises:
        UserError: something is missing, of another shape, or belongs to an exit that the model does not have.
    """
    wanted = model.exits.state_dict()
    given = dict(released.exits)
    missing = [key for key in wanted if key not in given and not key.endswith("num_batches_tracked")]
    odd = [key for key in wanted if key in given and given[key].shape != wanted[key].shape]
    strange = [key for key in given if key not in wanted]
    for keys, what in ((missing, "missing"), (odd, "of another shape"), (strange, "of no exit here")):
        if keys:
            raise UserError(f"weights '{weights}' do not fit the exits: {len(keys)} {what} ({some(keys)})")
    model.exits.load_state_dict(given, strict=False)
