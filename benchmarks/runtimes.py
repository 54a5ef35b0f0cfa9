"""How much early exit gains in each runtime, and with each side in its best one.

Two tables, of ratios within one run: a method trained on the digits, at its operating points, and ViT-S at 224 pixels
with random weights and made to stop at each of four exits, whose rule still looks at real logits. The plain backbone is
one graph in every runtime; its own ratio, eager PyTorch over the runtime, stands beside them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import torch

import eebench
from benchmarks.harness import Result, Settings
from benchmarks.models import early_exit, images
from eebench.data.base import Split
from eebench.engine.model import EarlyExitModel
from eebench.progress import Reporter
from eebench.rules import Thresholds
from eebench.runs.how import Execution
from eebench.runs.runtimes import in_other_runtimes
from eebench.schema import BACKBONE, BEST
from eebench.timing.across import runtime_rows
from eebench.timing.entrant import Entrant
from eebench.timing.paths import time_seed
from eebench.timing.rounds import Rounds

__all__ = ["run"]

METHOD = "pabee[blocks=3+6+9]"
APART = 10.0  # thresholds of neighbouring exits: further than probabilities are, so that the knob alone says who stops
SAMPLES = 16


def run(settings: Settings) -> Iterator[Result]:
    """Both tables."""
    names = ("onnxruntime",) if settings.quick else ("compile", "onnxruntime")  # compiling takes longer than the rest
    yield from _digits(names, settings)
    yield from _random(names, settings)


def _digits(names: tuple[str, ...], settings: Settings) -> Iterator[Result]:
    """A method that is trained, at its operating points."""
    with TemporaryDirectory() as folder:
        tables = eebench.run(
            results=folder,
            dataset="digits",
            methods=(METHOD,),
            budget="smoke" if settings.quick else "quick",
            static=(),
            latency_seconds=0.0 if settings.quick else 25.0,
            threads=settings.threads,
            how=Execution(in_process=True),
            runtimes=names,
        )
    rows = tables["runtimes"]
    for path in sorted(set(rows["path"])):
        yield from _told(f"vit_micro on digits, {METHOD} at {path}", rows[rows["path"] == path].to_dict("records"))


def _random(names: tuple[str, ...], settings: Settings) -> Iterator[Result]:
    """A larger network, its exits made to stop everybody."""
    name, classes = ("vit_micro", 10) if settings.quick else ("vit_s", 1000)
    model = early_exit(name, classes, 3)
    inner = len(model.blocks) - 1
    rule = Thresholds([-APART * place for place in range(inner)])
    knobs = {f"block_{block}": APART * (place - 0.5) for place, block in enumerate(model.blocks)}
    plain = EarlyExitModel(model.backbone, {}).eval()
    entrants = [Entrant(BACKBONE, plain, None), Entrant("exits", model, rule, knobs)]
    count = 8 if settings.quick else SAMPLES
    split = Split(list(images(model, count)), np.zeros(count, dtype=np.int64))
    reporter = Reporter(quiet=True)
    with torch.inference_mode():
        for place, knob in enumerate(knobs.values()):
            assert model.dynamic(images(model, 2), rule, knob).exit.tolist() == [place, place]
    with in_other_runtimes(entrants, names, reporter):
        failed = {runtime: why for entrant in entrants for runtime, why in entrant.unopened.items()}
        assert not failed, failed
        times = time_seed(
            entrants,
            split,
            device=torch.device("cpu"),
            samples=count,
            rounds=Rounds(2, 2) if settings.quick else Rounds(4, 8, 60.0),
            batch_sizes=(1,),
            reporter=reporter,
        )
    rows = pd.DataFrame(runtime_rows(times, 0))
    for path, block in zip(knobs, model.blocks, strict=True):
        case = f"{name}, everybody stops at block {block} of {model.backbone.depth}"
        yield from _told(case, rows[rows["path"] == path].to_dict("records"))


def _told(case: str, rows: list[Mapping[str, Any]]) -> Iterator[Result]:
    """A path in each runtime, and each side in its best."""
    eager = next(row for row in rows if row["runtime"] == "eager")
    for row in rows:
        why = row["withheld"] if isinstance(row["withheld"], str) else ""  # a table has a gap for an empty text
        detail = {"ms": round(row["mean_ms"], 4), "plain_ms": round(row["plain_ms"], 4), "withheld": why}
        if np.isfinite(row["speedup_low"]):
            detail["interval"] = [round(row["speedup_low"], 4), round(row["speedup_high"], 4)]
        where = (
            f"best against best ({row['ran_in']} against {row['against']})" if row["runtime"] == BEST else row["ran_in"]
        )
        detail["plain_over_eager"] = round(eager["plain_ms"] / row["plain_ms"], 4)
        yield Result("runtimes", f"{case}, {where}", row["plain_ms"] / row["mean_ms"], "x plain", detail=detail)
