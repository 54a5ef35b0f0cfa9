"""A trained model of a finished run, exported at one of its operating points with the numbers measured there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eebench.deploy.export import OPSET, Described
from eebench.deploy.export import export as write_folder
from eebench.deploy.folder import Deployment, digest
from eebench.errors import UserError, did_you_mean
from eebench.measure.statistics import score_drop
from eebench.runs.deployed import Deployed, load
from eebench.runs.finished import finished_cell, task_of
from eebench.runs.score import Evaluation, curve
from eebench.schema import BACKBONE, STATIC

__all__ = ["export"]

KEPT = ("score", "metric", "accuracy", "drop", "speedup_macs", "speedup_cpu", "gmacs", "mean_exit", "ece")
"""Columns of an operating point that a card shows, with the ends of their intervals."""


def export(
    run: str | Path,
    method: str,
    out: str | Path,
    *,
    target: str | None = None,
    knob: float | None = None,
    seed: int | None = None,
    format: str = "onnx",
    opset: int = OPSET,
    data_only: bool = False,
    plugins: Sequence[str | Path] | None = None,
) -> Deployment:
    """Write a trained model of a run to a folder that :class:`eebench.deploy.Runner` runs.

    Args:
        run: the run directory.
        method: its label in the run; ``backbone`` or ``static[blocks=3]`` are exported as one graph.
        out: the folder; it must not be there yet.
        target: the operating point; the run's first when neither it nor a knob is given.
        knob: any other value of the rule's knob.
        seed: of the training; the run's first when not given.
        format: ``onnx`` or ``torch``.
        opset: of ONNX.
        data_only: refuse a rule that would have to be a Python file.
        plugins: files with methods or backbones that are not installed.

    Raises:
        UserError: no such method, seed or operating point in the run, or nothing that can be exported.
    """
    path = Path(run)
    deployed = load(path, method, seed=seed, plugins=plugins)
    record, cell = finished_cell(path, method, seed)
    chosen, numbers = _point(path, deployed, cell.seed, target, knob)
    source = {
        "run": record.run,
        "method": method,
        "seed": cell.seed,
        "backbone": Path(record.backbone.name).name,
        "data set": record.data.name,
        "test samples": record.data.n_test,
        "trained weights, SHA-256": digest(cell.weights),
    }
    return write_folder(
        deployed.model,
        deployed.rule,
        out,
        Described(
            method=method,
            knob=None if deployed.rule is None else (knob if chosen is None else deployed.knobs[chosen]),
            target=chosen,
            knobs=deployed.knobs,
            labels=deployed.labels,
            preprocessing=deployed.preprocessing,
            source=source,
            numbers=numbers,
        ),
        format=format,
        opset=opset,
        data_only=data_only,
    )


def _point(
    path: Path, deployed: Deployed, seed: int, target: str | None, knob: float | None
) -> tuple[str | None, dict[str, Any]]:
    """The operating point's name, and its numbers on test data."""
    if target is not None and knob is not None:
        raise UserError("--target names an operating point and --knob another value: give one of them")
    if deployed.rule is None:
        if target is not None or knob is not None:
            raise UserError(f"{deployed.label} decides nothing: leave --target and --knob out")
        plain = deployed.label == BACKBONE
        where = {"method": BACKBONE if plain else STATIC, "seed": seed, "kind": "plain" if plain else "static"}
        blocks = {} if plain else {"knob": deployed.model.blocks[-1]}
        return None, _row(path, "curves", {**where, **blocks, "split": "test"})
    if knob is not None:
        return None, _measured(path, deployed, seed, knob)
    chosen = target or next(iter(deployed.knobs), None)
    if chosen is None:
        raise UserError(f"{deployed.label} has no operating point in this run: give --knob")
    if chosen not in deployed.knobs:
        raise UserError(f"--target: no operating point '{chosen}'{did_you_mean(chosen, deployed.knobs)}")
    where = {"method": deployed.label, "seed": seed, "kind": "dynamic", "target": chosen}
    return chosen, _row(path, "operating_points", where)


def _row(path: Path, table: str, where: dict[str, Any]) -> dict[str, Any]:
    """The first row of a table that fits, as a card has it: no empty cells."""
    import pandas as pd

    frame = pd.read_csv(path / f"{table}.csv")
    for column, value in where.items():
        frame = frame[frame[column] == value]
    if frame.empty:
        return {}
    row = frame.iloc[0]
    wanted = [name for each in KEPT for name in (each, f"{each}_low", f"{each}_high") if name in frame.columns]
    found = {name: row[name] for name in wanted if not pd.isna(row[name])}
    if "met" in frame.columns and not bool(row["met"]):
        found["note"] = "Validation data vouch for no knob value that meets the target; this is the nearest."
    return {name: value.item() if hasattr(value, "item") else value for name, value in found.items()}


def _measured(path: Path, deployed: Deployed, seed: int, knob: float) -> dict[str, Any]:
    """A knob that nobody chose, replayed on the stored test trace."""
    record, cell = finished_cell(path, deployed.label, seed)
    _, plain = finished_cell(path, BACKBONE, seed)
    traces = [one.path / "trace-test.npz" for one in (cell, plain)]
    if missing := [trace for trace in traces if not trace.exists()]:
        raise UserError(f"the traces are not in {missing[0].parent}: no numbers for this knob; run the benchmark here")
    assert deployed.rule is not None
    task = task_of(record)
    evaluation = Evaluation(cell.trace("test"), cell.costs("test"), task, record.backbone.depth)
    (point,) = curve(evaluation, deployed.rule, [knob])
    before = plain.trace("test").prediction[:, -1]
    drop = score_drop(task.metric, before, point.predictions, evaluation.trace.targets)
    found = {name: point.row[name] for name in KEPT if name in point.row}
    found |= {"drop": drop.estimate, "drop_low": drop.low, "drop_high": drop.high}
    note = "The knob is not one that the run chose; the interval is over test samples alone."
    return {**{name: value.item() if hasattr(value, "item") else value for name, value in found.items()}, "note": note}
