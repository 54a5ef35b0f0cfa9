"""Batch 1: does everyone stopping at exit k cost what the same modules cost in a straight line?

The goal is on dynamic inference against a straight line that decides nothing. Beside it stands the same against a
straight line with the decision (softmax, maximum, comparison) written into it: what is left is the walk's own cost.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch

from benchmarks.harness import Result, Settings, compare
from benchmarks.models import early_exit, images, only_sure_at, straight_line
from eebench.rules import Confidence

__all__ = ["run"]

CASES = (  # model, classes, goal, rounds, calls a timing
    ("vit_s", 1000, 1.02, 40, 1),
    ("vit_micro", 10, 1.05, 60, 20),
)
THRESHOLD = 0.9


def run(settings: Settings) -> Iterator[Result]:
    """Dynamic inference by the confidence rule against the hand-written forward up to the same exit."""
    for name, classes, goal, rounds, calls in CASES[1:] if settings.quick else CASES:
        model = early_exit(name, classes)
        image, ids, last = images(model, 1), torch.zeros(1, dtype=torch.int64), len(model.blocks) - 1
        for where, position in (("first", 0), ("middle", last // 2), ("last", last)):
            only_sure_at(model, position)
            dynamic = partial(model.dynamic, image, Confidence(), THRESHOLD, ids)
            lines = {
                decides: partial(straight_line(model, position + 1, THRESHOLD if decides else None), image)
                for decides in (False, True)
            }
            case = f"{name}, stop at the {where} exit (block {model.blocks[position]} of {model.backbone.depth})"
            with torch.inference_mode():
                decision = dynamic()
                assert decision.exit.tolist() == [position]
                for line in lines.values():
                    torch.testing.assert_close(decision.logits, line()[-1])
                many = {"rounds": settings.rounds(rounds), "calls": settings.calls(calls)}
                ratio = compare(lines[False], dynamic, **many)
                yield Result("single", case, ratio.median, "x", goal, detail=ratio.detail())
                ratio = compare(lines[True], dynamic, **many)
                yield Result("single", f"{case}, straight line decides too", ratio.median, "x", detail=ratio.detail())
