"""From a run directory to a report folder, whole or not at all."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from matplotlib.figure import Figure

from eebench.errors import UserError
from eebench.report import calibration, curves, details, panels, pareto, provenance, sections
from eebench.report.blocks import Section
from eebench.report.derive import compare
from eebench.report.frames import load
from eebench.report.pages import Page, html, markdown
from eebench.report.pareto import Scene
from eebench.report.style import inline, save, style
from eebench.report.text import Writer
from eebench.schema import TABLES

__all__ = ["render"]

_OURS = {"report.html", "report.md", "figures", "tables"}


def render(run_dir: Path, out_dir: Path) -> dict[str, Path]:
    """Write report.html, report.md, figures/*.svg and *.png, and tables/*.csv to ``out_dir``.

    Everything comes from the record in ``run_dir``: the same record gives the same bytes. The report is built beside
    ``out_dir`` and takes its place at the end, so a reader never sees half of one and a failure leaves the old one.

    Returns:
        Every file written, by its path relative to ``out_dir`` (``report.html``, ``figures/pareto_macs.svg``, …).

    Raises:
        UserError: the record is missing, damaged or of another schema version; ``out_dir`` cannot be written to, or
            holds files that no report put there.
    """
    run_dir, out_dir = Path(run_dir), Path(out_dir)
    record = load(run_dir)
    _check(out_dir)
    scene = Scene(record, compare(record), Writer(record))
    try:
        out_dir.parent.mkdir(parents=True, exist_ok=True)
        stage = Path(tempfile.mkdtemp(prefix=f".{out_dir.name}-", dir=out_dir.parent))
    except OSError as error:
        raise UserError(f"report folder {out_dir} cannot be written to: {error.strerror}") from error
    try:
        _build(scene, stage)
        _swap(stage, out_dir)
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    files = sorted(path for path in out_dir.rglob("*") if path.is_file())
    return {path.relative_to(out_dir).as_posix(): path for path in files}


def _check(out_dir: Path) -> None:
    """Refuse what the swap would destroy."""
    if out_dir.exists() and not out_dir.is_dir():
        raise UserError(f"report folder {out_dir} is a file")
    foreign = sorted({path.name for path in out_dir.iterdir()} - _OURS) if out_dir.exists() else []
    if foreign:
        raise UserError(
            f"report folder {out_dir} holds {foreign[0]}, which is no part of a report; choose another folder"
        )


def _build(scene: Scene, stage: Path) -> None:
    for name in ("figures", "tables"):
        (stage / name).mkdir()
    stage.chmod(0o755)  # mkdtemp's 0o700 would hide the report from other users
    classes: dict[str, str] = {}
    svgs: dict[str, str] = {}
    with style():
        for name, draw in _plots(scene).items():
            figure = draw()
            if figure is not None:
                svgs[name] = inline(save(figure, stage / "figures", name), name, f"f{len(svgs)}", classes)
    run = scene.record.run
    page = Page(
        title=f"Early exit on {run['backbone']['name']}, {run['data']['name']}",
        run=str(run["run"]),
        sections=_sections(scene, set(svgs)),
        svgs=svgs,
        classes=classes,
        series=list(scene.series.values()),
    )
    (stage / "report.html").write_text(html(page), encoding="utf-8")
    (stage / "report.md").write_text(markdown(page), encoding="utf-8")
    for name in TABLES:
        source = scene.record.path / f"{name}.csv"
        if source.is_file():
            shutil.copyfile(source, stage / "tables" / source.name)
    scene.table.to_csv(stage / "tables" / "comparison.csv", index=False, float_format="%.9g")


def _plots(scene: Scene) -> dict[str, Callable[[], Figure | None]]:
    """Plots by file name; those the record has nothing for are left out."""
    if not scene.record.methods:
        return {}
    plots: dict[str, Callable[[], Figure | None]] = {}
    dynamic = scene.table[scene.table["kind"] == "dynamic"]
    for cost, (column, *_) in pareto.COSTS.items():
        if dynamic[column].notna().any():
            plots[f"pareto_{cost}"] = partial(pareto.overview, scene, cost)
            plots[f"pareto_{cost}_methods"] = partial(pareto.per_method, scene, cost)
    plots["claimed"] = partial(pareto.claimed, scene)
    plots["exit_shares"] = partial(panels.shares, scene)
    plots["exit_scores"] = partial(panels.scores, scene)
    for device in scene.record.devices:
        plots[f"exit_latency_{device}"] = partial(panels.latency, scene, device)
    plots["cost_breakdown"] = partial(panels.costs, scene)
    plots["reliability"] = partial(panels.reliability, scene)
    return plots


def _sections(scene: Scene, drawn: set[str]) -> list[Section]:
    """The page, in the order of the reader's questions."""
    return [
        sections.verdict(scene),
        sections.comparison(scene),
        curves.tradeoffs(scene, drawn),
        curves.claims(scene, drawn),
        details.exits(scene, drawn),
        details.knobs(scene),
        details.costs(scene, drawn),
        *calibration.calibration(scene, drawn),
        provenance.troubles(scene),
        provenance.provenance(scene),
        provenance.glossary(),
        provenance.citations(scene),
    ]


def _swap(stage: Path, out_dir: Path) -> None:
    """Put ``stage`` in the place of ``out_dir``; on failure the old report is put back."""
    if not out_dir.exists():
        stage.rename(out_dir)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{out_dir.name}-old-", dir=out_dir.parent))
    kept = old / out_dir.name
    out_dir.rename(kept)
    try:
        stage.rename(out_dir)
    except OSError:
        kept.rename(out_dir)
        raise
    finally:
        shutil.rmtree(old, ignore_errors=True)
