"""From a run directory to a report folder, whole or not at all."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from eebench.report import calibration, curves, details, dumbbell, families, multiples, overview, panels, provenance
from eebench.report.blocks import Explorer, Section
from eebench.report.comparison import comparison
from eebench.report.explorer import explorer_json
from eebench.report.first import first_screen
from eebench.report.folder import check_folder, staged
from eebench.report.frames import load
from eebench.report.gallery import gallery, sheet
from eebench.report.lines import Lines
from eebench.report.load import load as under_load
from eebench.report.markdown import markdown
from eebench.report.pages import Page, html
from eebench.report.paper import bibtex, latex, paper_kit
from eebench.report.robustness import robustness
from eebench.report.runtimes import runtimes
from eebench.report.scene import COSTS, Plot, Scene
from eebench.report.style import COLUMN, PAGE, TEXT, Medium, style
from eebench.report.svg import dark, inline, save, save_pdf

__all__ = ["check_folder", "render"]

PAPER = (TEXT, COLUMN)

Draw = Callable[[Medium], Plot | None]


def render(run_dir: Path, out_dir: Path, *, samples: bool = True) -> dict[str, Path]:
    """Write report.html, report.md, figures/ (SVG, PNG, PDF) and tables/ (CSV, LaTeX, BibTeX) to ``out_dir``.

    Everything comes from the record in ``run_dir``: the same record gives the same bytes. The report is built beside
    ``out_dir`` and takes its place at the end, so a reader never sees half of one and a failure leaves the old one.

    Args:
        run_dir: the run.
        out_dir: the report's folder.
        samples: whether the record's samples of the data are shown.

    Returns:
        Every file written, by its path relative to ``out_dir`` (``report.html``, ``figures/pareto_macs.svg``, …).

    Raises:
        UserError: the record is missing, damaged or of another schema version; ``out_dir`` cannot be written to, or
            holds files that no report put there.
    """
    run_dir, out_dir = Path(run_dir), Path(out_dir)
    record = load(run_dir)
    if not samples:
        record = replace(record, tables={name: table for name, table in record.tables.items() if name != "samples"})
    check_folder(out_dir)
    scene = Scene(record)
    with staged(out_dir) as stage:
        _build(scene, stage)
    files = sorted(path for path in out_dir.rglob("*") if path.is_file())
    return {path.relative_to(out_dir).as_posix(): path for path in files}


def _build(scene: Scene, stage: Path) -> None:
    for name in ("figures", "tables"):
        (stage / name).mkdir()
    stage.chmod(0o755)  # mkdtemp's 0o700 would hide the report from other users
    page = Page(scene.title, str(scene.record.run["run"]), [])
    _draw(scene, stage / "figures", page)
    tables = _tables(scene, stage / "tables")
    thumbnails = sheet(scene.record)
    sections = _sections(scene, list(page.svgs), tables, pictures=thumbnails is not None)
    data = explorer_json(scene) if scene.record.methods else ""
    page = replace(page, sections=sections, data=data, sheet=thumbnails)
    (stage / "report.html").write_text(html(page), encoding="utf-8")
    (stage / "report.md").write_text(markdown(scene, sections, page.svgs), encoding="utf-8")


def _draw(scene: Scene, folder: Path, page: Page) -> None:
    """Every plot as SVG and PNG for a page, as PDF for two widths of paper, the overviews for dark pages too."""
    plots = _plots(scene)
    with style(PAGE):
        for name, draw in plots.items():
            plot = draw(PAGE)
            if plot is None:
                continue
            svg = save(plot.figure, folder, name)
            page.tips[name] = plot.places()
            page.svgs[name] = inline(svg, name, f"f{len(page.svgs)}", page.classes)
            if name.startswith("overview_"):
                (folder / f"{name}-dark.svg").write_text(dark(svg), encoding="utf-8")
    for medium in PAPER:
        with style(medium):
            for name in page.svgs:
                plot = plots[name](medium)
                assert plot is not None, "what a page has a paper can have"
                save_pdf(plot.figure, folder, f"{name}-{medium.name}")


def _tables(scene: Scene, folder: Path) -> list[str]:
    """The record's tables, the comparison as CSV and LaTeX, the papers; their names.

    A table leaves the folder that says what it is about: every row names run, backbone and data set, as
    ``eebench.open`` has it. What else is in it stays as the record writes it, to the digit.
    """
    run = scene.record.run
    whose = {"run": run["run"], "backbone": run["backbone"]["name"], "dataset": run["data"]["name"]}
    tables = {**scene.record.tables, "comparison": scene.table}
    for name, table in tables.items():
        source = scene.record.path / f"{name}.csv"
        if source.is_file():
            with source.open(encoding="utf-8", newline="") as file:
                head, *rows = csv.reader(file)
        else:  # worked out here; or an older record has it inside another table
            head, *rows = csv.reader(io.StringIO(table.to_csv(index=False, float_format="%.9g")))
        with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow([*whose, *head])
            writer.writerows([*whose.values(), *row] for row in rows)
    if scene.record.methods:
        (folder / "comparison.tex").write_text(latex(scene), encoding="utf-8")
    (folder / "papers.bib").write_text(bibtex(scene), encoding="utf-8")
    return sorted(path.name for path in folder.iterdir())


def _plots(scene: Scene) -> dict[str, Draw]:
    """Plots by file name; those the record has nothing for are left out."""
    if not scene.record.methods:
        return {}
    lines = Lines(scene)
    plots: dict[str, Draw] = {}
    dynamic = scene.table[scene.table["kind"] == "dynamic"]
    for cost, (column, *_) in COSTS.items():
        if dynamic[column].notna().any():
            plots[f"overview_{cost}"] = partial(overview.overview, scene, lines, cost)
            plots[f"methods_{cost}"] = partial(multiples.per_method, scene, cost)
    if families.families(scene.record.methods):
        plots["families"] = partial(families.draw, scene, lines)
    plots["claimed"] = partial(dumbbell.claimed, scene)
    plots["exit_shares"] = partial(panels.shares, scene)
    plots["exit_scores"] = partial(panels.scores, scene)
    for device in scene.record.devices:
        plots[f"exit_latency_{device}"] = partial(panels.latency, scene, device)
    plots["cost_breakdown"] = partial(panels.costs, scene)
    plots["reliability"] = partial(panels.reliability, scene)
    return plots


def _sections(scene: Scene, figures: list[str], tables: list[str], *, pictures: bool) -> list[Section]:
    """The page, in the order of the reader's questions."""
    drawn = set(figures)
    fallback = (
        "With JavaScript, a budget can be dragged here; without it, the comparison and the threshold tables have the"
        " same numbers."
    )
    explorer = [Section("explorer", "What does a budget buy?", [Explorer(fallback)])] if scene.record.methods else []
    return [
        first_screen(scene, drawn),
        comparison(scene),
        *explorer,
        curves.tradeoffs(scene, drawn),
        *families.section(scene, drawn),
        curves.claims(scene, drawn),
        details.exits(scene, drawn),
        *gallery(scene, pictures=pictures),
        details.knobs(scene),
        details.costs(scene, drawn),
        *calibration.calibration(scene, drawn),
        *runtimes(scene),
        *under_load(scene),
        *robustness(scene),
        provenance.troubles(scene),
        provenance.provenance(scene),
        paper_kit(scene, figures, tables),
        provenance.glossary(scene),
    ]
