"""What drops into a paper: a LaTeX table, a BibTeX file, the list of all files, whom to cite."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pandas as pd

from eebench.report.blocks import Block, Code, Fold, Links, Section, Table, Text
from eebench.report.scene import Scene
from eebench.report.singles import simple_table
from eebench.report.targets import target
from eebench.report.text import METRICS, knob, number, one_line, short_name

__all__ = ["address", "bibtex", "latex", "paper_kit"]

_ROWS = 12
_CLOCKS = {"gpu": r"$\times$ GPU", "cpu": r"$\times$ CPU", "macs": r"$\times$ MACs"}


def latex(scene: Scene) -> str:
    r"""The comparison at the main target as a booktabs table: the twelve rows that a page begins with.

    The best value of those that kept the target is bold, a difference that may be none has ``n.s.``; the caption says
    how the numbers came about. Needs ``\usepackage{booktabs}``.
    """
    race, write = scene.race(scene.main), scene.write
    plain = race.rows[race.rows["kind"] == "plain"]
    rows = [*(row for _, row in plain.iterrows()), *race.shown()][:_ROWS]
    clock = race.clock if race.clock != "macs" else None
    running = [row for row in rows if row["kind"] != "plain" and race.ranks(row)]
    best = {
        name: max((row[name] for row in running if math.isfinite(row[name])), default=math.nan)
        for name in ("score", "speedup_macs", f"speedup_{race.clock}")
    }
    heads = ["Method", "Knob", _tex(write.score_name.partition(",")[0].capitalize()), r"$\Delta$ (points)"]
    heads += [_CLOCKS["macs"], *([_CLOCKS[clock]] if clock else [])]
    lines = [
        r"% needs \usepackage{booktabs}",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_caption(scene, running)}}}",
        rf"\label{{tab:{re.sub(r'[^a-z0-9]+', '-', str(scene.record.run['run']).lower())}}}",
        rf"\begin{{tabular}}{{ll{'r' * (len(heads) - 2)}}}",
        r"\toprule",
        " & ".join(heads) + r" \\",
        r"\midrule",
    ]
    below = False
    for row in rows:
        if row["kind"] != "plain" and not race.ranks(row) and not below:
            below = True
            lines.append(r"\midrule")
        lines.append(" & ".join(_cells(scene, row, best, clock, ranked=not below)) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


def _cells(scene: Scene, row: pd.Series, best: dict[str, float], clock: str | None, *, ranked: bool) -> list[str]:
    write = scene.write
    name = f"fixed depth ({row['label']})" if row["kind"] == "fixed" else row["label"]
    setting = f"{row['knob_name']} {knob(row)}" if row["kind"] in ("dynamic", "fixed", "static") else "--"
    change = "--"
    if row["kind"] != "plain":
        sign = write.change(row["drop"]).replace("−", "-")
        change = f"${sign}$" + (r"\,{\scriptsize n.s.}" if row["unsure_drop"] else "")
    cells = [_tex(name), _tex(setting), _bold(row, "score", write.score, best, ranked=ranked), change]
    cells.append(_bold(row, "speedup_macs", number, best, ranked=ranked))
    if clock:
        cells.append(_bold(row, f"speedup_{clock}", number, best, ranked=ranked))
    return cells


def _bold(row: pd.Series, name: str, write: Any, best: dict[str, float], *, ranked: bool) -> str:
    value = row[name]
    if not math.isfinite(value):
        return "--"
    std = row[f"{name}_std"]
    spread = rf"\,{{\scriptsize$\pm$ {write(std)}}}" if row["seeds"] > 1 and math.isfinite(std) and std > 0 else ""
    text = write(value).replace("−", "-")
    top = ranked and row["kind"] != "plain" and value == best.get(name)
    return (rf"\textbf{{{text}}}" if top else text) + spread


def _caption(scene: Scene, running: list[pd.Series]) -> str:
    run, data = scene.record.run, scene.record.run["data"]
    seeds = len(scene.record.seeds)
    metric = METRICS.get(scene.write.metric, scene.write.metric)
    text = (
        f"Early exit on {short_name(run['backbone']['name'])}, {short_name(data['name'])}: {target(scene.main).title}."
        f" Knobs chosen on {data.get('n_val', '?')} validation samples, numbers from {data.get('n_test', '?')} test"
        f" samples, {seeds} seed{'s (mean, standard deviation)' if seeds > 1 else ''}; {metric},"
        " MACs with every head and gate charged"
    )
    text += f", {scene.clock.upper()} time at batch 1" if scene.clock != "macs" else ""
    text += ". Bold: best of those that kept the target" if running else ""
    return _tex(f"{text}; n.s.: not told apart from no change at 95 %; below the line: target missed.")


def _tex(text: str) -> str:
    signs = {"−": "$-$", "×": r"$\times$", "±": r"$\pm$", "Δ": r"$\Delta$", "–": "--", "≤": r"$\le$", "†": r"$\dagger$"}
    signs |= {"\\": r"\textbackslash{}", "^": r"\^{}", "~": r"\textasciitilde{}", "<": "$<$", ">": "$>$", "|": "$|$"}
    signs |= {sign: f"\\{sign}" for sign in "&%$#_{}"}
    return "".join(signs.get(sign, sign if sign.isascii() else _plain(sign)) for sign in text)


def _plain(sign: str) -> str:
    """What stands for a sign that pdflatex may not know: its ASCII base where it has one."""
    import unicodedata

    base = unicodedata.normalize("NFKD", sign).encode("ascii", "ignore").decode()
    return base or "?"


def bibtex(scene: Scene) -> str:
    """The papers of this run's methods, each once."""
    entries = [(cell.get("card") or {}).get("bibtex") for cell in scene.record.cells]
    return "\n\n".join(dict.fromkeys(entry.strip() for entry in entries if isinstance(entry, str) and entry)) + "\n"


def paper_kit(scene: Scene, figures: Iterable[str], tables: Iterable[str]) -> Section:
    """Files to take along, and whom to cite."""
    run = scene.record.run
    blocks: list[Block] = [
        Text(
            "Beside this page lie its tables as CSV, a LaTeX table (booktabs), and every figure as SVG, PNG, and as PDF"
            " with embedded fonts for a text block (6.9 in) and for a column (3.3 in)."
        ),
        Links("Tables", [(name, f"tables/{name}") for name in tables]),
        Fold(
            "Figures",
            [
                Links(name, [("SVG", f"figures/{name}.svg"), ("PNG", f"figures/{name}.png"),
                             ("PDF 6.9 in", f"figures/{name}-6.9in.pdf"), ("PDF 3.3 in", f"figures/{name}-3.3in.pdf")])
                for name in figures
            ],
        ),
    ]  # fmt: skip
    version = run["environment"].get("eebench")
    cite = (
        f"eebench {version or ''}, run {run['run']}, spec {str(run['spec_sha256'])[:12]},"
        f" schema {run['schema_version']}, protocol {one_line(run.get('protocol_version'))}."
    )
    blocks.append(Code(" ".join(cite.split()), ""))
    blocks += _papers(scene)
    return Section("paper", "For your paper", blocks)


def _papers(scene: Scene) -> list[Block]:
    cards = {cell["method"]: cell.get("card") or {} for cell in scene.record.cells}
    rows = [
        [scene.record.labels[method], one_line(card.get("paper")), one_line(card.get("link"))]
        for method, card in cards.items()
        if card.get("paper") or card.get("link")
    ]
    blocks: list[Block] = []
    if rows:
        table = simple_table("papers", "Papers, as the method cards name them.", ["Method", "Paper", "Link"], rows)
        blocks.append(_linked(table))
    else:
        blocks.append(Text("No method card of this run names a paper."))
    entries = bibtex(scene).strip()
    return [*blocks, Fold("BibTeX", [Code(entries, "bibtex")])] if entries else blocks


def _linked(table: Table) -> Table:
    """The same table with links: a reader may follow them, the page never does."""
    rows = []
    for row in table.rows:
        *others, last = row.cells
        rows.append(replace(row, cells=[*others, replace(last, link=address(last.text))]))
    return replace(table, rows=rows)


def address(text: str) -> str:
    """The address behind ``arXiv 2006.04152``, ``doi 10.18653/v1/...`` or a web address; nothing for anything else."""
    text = text.strip()
    arxiv = re.fullmatch(r"arXiv[:\s]*(\d{4}\.\d{4,5})(v\d+)?", text)
    doi = re.fullmatch(r"doi[:\s]*(10\.\d{4,9}/[^\s\"<>]+)", text, re.IGNORECASE)
    if arxiv:
        return f"https://arxiv.org/abs/{arxiv[1]}"
    if doi:
        return f"https://doi.org/{doi[1]}"
    return text if re.fullmatch(r"https?://[^\s\"<>]+", text) else ""
