"""The page's end: what went wrong, how to get the same numbers again, what the words mean."""

from __future__ import annotations

from typing import Any

from eebench.report.blocks import Block, Code, Fold, Section, Table, Terms, Text
from eebench.report.scene import Scene
from eebench.report.singles import simple_table
from eebench.report.targets import target
from eebench.report.text import DASH, one_line
from eebench.schema import KINDS, TABLES

__all__ = ["glossary", "provenance", "troubles"]

_VERSIONS = (
    "eebench",
    "python",
    "torch",
    "torchvision",
    "timm",
    "fvcore",
    "transformers",
    "datasets",
    "numpy",
    "pandas",
)
_NOISY = 20  # timings listed; latency.csv has them all
_MACHINE = ("cpu", "cores", "threads", "gpu", "attention", "malloc", "platform")


def troubles(scene: Scene) -> Section:
    """Section 8: what failed, what was skipped, which timings were noisy."""
    cells = [cell for cell in scene.record.cells if cell["status"] != "done"]
    blocks: list[Block] = []
    if cells:
        rows = [
            [scene.record.labels[cell["method"]], cell.get("seed"), cell["status"], one_line(cell.get("reason"))]
            for cell in cells
        ]
        caption = f"{len(cells)} of {len(scene.record.cells)} cells have no result."
        blocks.append(simple_table("failures", caption, ["Method", "Seed", "Status", "Reason"], rows))
    else:
        blocks.append(Text("Every cell of the run finished: nothing failed, nothing was skipped."))
    latency = scene.record.latency
    noisy = latency[latency["noisy"]]
    if len(noisy):
        worst = noisy.assign(sway=noisy["iqr_ms"] / noisy["mean_ms"]).sort_values(
            "sway", ascending=False, kind="stable"
        )
        rows = [
            [scene.record.labels.get(row["method"], row["method"]), str(row["seed"]), row["device"], row["scenario"],
             f"{row['batch_size']:g}", row["path"], scene.write.ms(row["mean_ms"]), scene.write.ms(row["iqr_ms"])]
            for _, row in worst.head(_NOISY).iterrows()
        ]  # fmt: skip
        names = ["Method", "Seed", "Device", "Scenario", "Batch", "Path", "Mean ms", "IQR ms"]
        rule = TABLES["latency"]["noisy"].removeprefix("True when ")
        shown = f"; the {_NOISY} that swayed most" if len(noisy) > _NOISY else ""
        caption = f"{len(noisy)} of {len(latency)} timings are noisy: {rule}{shown}."
        table = simple_table("noise", caption, names, rows)
        blocks.append(table if len(noisy) <= 8 else Fold(f"{len(noisy)} of {len(latency)} timings are noisy", [table]))
    elif len(latency):
        blocks.append(Text(f"None of the {len(latency)} timings was noisy."))
    else:
        blocks.append(Text("Nothing was timed."))
    return Section("troubles", "Failures, skips and noise", blocks)


def provenance(scene: Scene) -> Section:
    """Section 9: everything it takes to get these numbers again."""
    run = scene.record.run
    environment, data, backbone, macs = (run[key] for key in ("environment", "data", "backbone", "macs"))
    sha = environment.get("git_sha")
    dirty = {True: ", with uncommitted changes", False: ", clean"}.get(environment.get("git_dirty"), "")
    items = [
        ("run", str(run["run"])),
        ("spec sha256", str(run["spec_sha256"])),
        ("schema, protocol", f"{run['schema_version']}, {one_line(run.get('protocol_version'))}"),
        ("git", f"{sha}{dirty}" if sha else "not run from a checkout"),
        ("seeds", one_line(scene.record.seeds)),
        (
            "started, finished",
            f"{one_line(run.get('started'))}, {one_line(run.get('finished'))} ({_duration(run.get('seconds'))})",
        ),
        ("live against replay", _live(run["cells"])),
        *((key, one_line(environment.get(key))) for key in _MACHINE),
        ("versions", ", ".join(f"{key} {environment[key]}" for key in _VERSIONS if environment.get(key))),
        ("data", _data(data)),
        ("split sha256", one_line(data.get("split_sha256"))),
        ("backbone", one_line({k: v for k, v in backbone.items() if v not in (None, [], "")})),
        ("MACs counted by", f"{one_line(macs.get('counter'))}; {one_line(macs.get('convention'))}"),
        ("operators not counted", one_line(macs.get("uncounted"))),
    ]
    command = run["command"]
    blocks: list[Block] = []
    if command:
        blocks.append(Code(str(command), "sh"))
    else:
        blocks.append(Text("This run was started from Python, not from the command line; its specification says how."))
    blocks.append(Terms(items))
    blocks.append(Fold("Specification", [Terms([(k, one_line(v)) for k, v in run["spec"].items() if v is not None])]))
    table = _training(scene)
    if table is not None:
        blocks.append(Fold("Training of each cell", [table]))
    return Section("provenance", "Provenance", blocks)


def _live(cells: list[dict[str, Any]]) -> str:
    """Every method was run live on some samples before it was timed; a rounding next to a threshold may show."""
    found = [cell["live"] for cell in cells if cell.get("live") and cell["live"]["compared"]]
    if not found:
        return DASH
    compared, differ = (sum(live[key] for live in found) for key in ("compared", "differ"))
    return f"{differ:,} of {compared:,} samples stopped elsewhere in inference that really stops"


def _data(data: dict[str, Any]) -> str:
    sizes = ", ".join(
        f"{data[key]:,} {name}" for key, name in (("n_train", "train"), ("n_val", "validation"), ("n_test", "test"))
    )
    task = {k: v for k, v in data["task"].items() if k != "labels"}
    shape = {k: data[k] for k in ("image_size", "patch_size") if data.get(k)}
    return "; ".join(
        [f"{data['name']}: {sizes}", one_line(task | shape), *(one_line(n) for n in data.get("notes") or [])]
    )


def _rates(phase: dict[str, Any]) -> str:
    """Learning rate of the heads, and of the backbone where it is another one."""
    rate, scale = phase.get("lr"), phase.get("backbone_lr_scale", 1.0)
    return (
        f"learning rate {rate}" if scale == 1 else f"learning rate {rate} (backbone, where trained, {rate * scale:g})"
    )


def _training(scene: Scene) -> Table | None:
    rows = []
    for cell in scene.record.run["cells"]:
        phases = [
            f"{p.get('phase')}: {p.get('epochs')} epochs, {one_line(p.get('optimizer'))}, {_rates(p)}"
            for p in cell.get("phases") or []
        ]
        if cell["status"] == "done":
            seconds = f"{cell['seconds']:.0f}" if cell.get("seconds") is not None else DASH
            label = scene.record.labels[cell["method"]]
            rows.append(
                [label, str(cell["seed"]), "; ".join(phases) or DASH, seconds, "yes" if cell.get("reused") else "no"]
            )
    names = ["Method", "Seed", "Phases", "Seconds", "Reused"]
    return (
        simple_table("training", "What each cell trained, and whether an earlier run's was reused.", names, rows)
        if rows
        else None
    )


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return DASH
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def glossary(scene: Scene) -> Section:
    """Section 10: the words, as the schema defines them."""
    columns: dict[str, str] = {}
    for name in ("operating_points", "exits", "latency"):
        for column, text in TABLES[name].items():
            if not column.startswith(("share_", "accuracy_", "speedup_cpu_", "speedup_gpu_")):
                columns.setdefault(column, text)
    columns.pop("target")
    return Section(
        "glossary",
        "Definitions",
        [
            Terms(
                [
                    ("exit", "a head attached behind a block; a sample that stops there leaves the network"),
                    ("exit rule, knob", "what decides who stops, and the one number that trades its score for compute"),
                    (
                        "operating point",
                        "a knob value chosen on validation data for a stated target, scored on test data",
                    ),
                    (
                        "dynamic inference",
                        "really stopping: finished samples leave the batch, later blocks run on the rest",
                    ),
                    ("point (pt)", "0.01 of the score; Δ score is minus the column 'drop' of the tables"),
                    ("★", "on the Pareto front, by means over seeds: no deployable row is as good at less cost"),
                    ("n.s., grey", "not told apart from no change by its 95 % interval, or seeds disagree on the sign"),
                    ("†", "no knob value met the target on validation data in every seed; the nearest one is shown"),
                    ("static model", "a smaller model of the same architecture, trained alone, without exits"),
                    ("dead exit", "one whose validation score is not clearly above the majority class; never ranked"),
                    ("tier", "methods that paired, corrected tests cannot tell apart"),
                ]
            ),
            Fold("Kinds of rows", [Terms(list(KINDS.items()))]),
            Fold("Targets", [Terms([(target(t).title, target(t).meaning) for t in scene.record.targets])]),
            Fold("Columns of the tables", [Terms(list(columns.items()))]),
        ],
    )
