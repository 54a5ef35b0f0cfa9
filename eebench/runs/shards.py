"""``--shard i/n``: a fixed shard of a plan, the same on every machine, worked out from the plan and nothing else.

The plan's work is laid out seed after seed and cut into n parts of equal cost; a job belongs to the part in which its
middle lies. So a shard has whole seeds where there are as many seeds as shards, and never differs from an even shard by
more than its largest piece. What a shard needs and another one has, a trained backbone or a search, it makes itself
unless it is there or being made: shards may run at the same time, one after the other, or on machines that never meet.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from eebench.runs.plan import Job
from eebench.runs.prepare import Prepared

__all__ = ["cost_of", "own_shard", "with_needs"]


def cost_of(prepared: Prepared) -> Callable[[Job], float]:
    """What jobs cost beside each other: passes over the training data, by the part of the backbone that they train."""
    backbone = prepared.backbone()
    plain = prepared.common_recipe(max(layout.dim for layout in backbone.layouts)).epochs
    method = prepared.method_epochs()
    trials = prepared.spec.search or 0

    def cost(job: Job) -> float:
        if job.kind == "backbone":
            return float(plain)
        if job.kind == "search":
            return float(trials * method)
        if job.kind == "static":
            return (method + (plain if job.blocks < prepared.depth else 0)) * job.blocks / prepared.depth
        return float(method)

    return cost


def own_shard(plan: Sequence[Job], cost: Callable[[Job], float], number: int, of: int) -> list[Job]:
    """The jobs of one shard, in the plan's order; every job is in one shard.

    Args:
        plan: all jobs.
        cost: of each, in any unit, at least 0.
        number: of the shard, from 1.
        of: how many shards.
    """
    pieces = _pieces(plan)
    costs = [sum(map(cost, piece)) or 1e-9 for piece in pieces]
    mine: set[str] = set()
    total, before = sum(costs), 0.0
    for piece, its in zip(pieces, costs, strict=True):
        middle = (before + its / 2) / total
        before += its
        if min(int(middle * of), of - 1) == number - 1:
            mine.update(job.key for job in piece)
    return [job for job in plan if job.key in mine]


def with_needs(plan: Sequence[Job], shard: Sequence[Job]) -> list[Job]:
    """A shard and what it needs of others, in the plan's order."""
    wanted = {job.key for job in shard}
    for job in reversed(plan):  # each stands behind what it needs
        if job.key in wanted:
            wanted.update(job.needs)
    return [job for job in plan if job.key in wanted]


def _pieces(plan: Sequence[Job]) -> list[list[Job]]:
    """What stays together: a search with its method on every seed; else each job alone."""
    pieces: list[list[Job]] = []
    searched: dict[str, list[Job]] = {}
    for job in plan:
        search = job.key if job.kind == "search" else next((key for key in job.needs if key in searched), None)
        if search is not None and search in searched:
            searched[search].append(job)
            continue
        pieces.append([job])
        if search is not None:
            searched[search] = pieces[-1]
    return pieces
