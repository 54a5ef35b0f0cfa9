"""One method's finished cell, read: replayed and scored, then run live. Here, as in training, a method's code runs."""

from __future__ import annotations

from dataclasses import dataclass

from eebench.plugins.chosen import Chosen
from eebench.runs.cell import Cell
from eebench.runs.choose import Chooser
from eebench.runs.live import Live, compare_live, spread
from eebench.runs.maker import undone
from eebench.runs.plan import Job, Undone
from eebench.runs.prepare import Prepared
from eebench.runs.store import Store
from eebench.runs.tables import Scored, score_method, score_plain
from eebench.runs.trials import recall
from eebench.runs.workshop import open_model

__all__ = ["MethodRead", "Reader", "chooser_of", "settled"]


@dataclass(frozen=True)
class MethodRead:
    """What a method's cell gives."""

    scored: Scored
    live: Live


class Reader:
    """Reads methods' cells of one run."""

    def __init__(self, prepared: Prepared, store: Store) -> None:
        self.prepared, self.store = prepared, store
        self._methods = {chosen.label: chosen for chosen in prepared.methods}
        self._chooser: tuple[str, Chooser] | None = None  # of the backbone's cell of this id

    def read(self, job: Job, cell: Cell, base: Cell) -> MethodRead | Undone:
        """Score a method, and see that inference that really stops does what the replay said.

        Args:
            job: that made it.
            cell: of the method.
            base: of the plain backbone.

        Returns:
            What was found; whatever goes wrong is this method's.
        """
        try:
            return self._read(settled(self._methods[job.label], self.prepared, self.store), cell, base)
        except Exception as error:  # one method's failure must not take the others' hours with it
            return undone(error, self.store.path)

    def _read(self, chosen: Chosen, cell: Cell, base: Cell) -> MethodRead:
        spec, data = self.prepared.spec, self.prepared.data
        rule = chosen.rule(data.task)
        if self._chooser is None or self._chooser[0] != base.id:
            plain = score_plain(base, data.task, self.prepared.depth)
            self._chooser = (base.id, chooser_of(self.prepared, plain))
        scored = score_method(
            cell,
            rule,
            data.task,
            self.prepared.depth,
            self._chooser[1],
            self.prepared.targets,
            thresholds=spec.thresholds,
            pinned=chosen.pinned,
        )
        model = open_model(self.prepared, cell, chosen.method)
        points = [*(c.test for c in scored.chosen["dynamic"]), *spread(scored.test("dynamic"))]
        return MethodRead(scored, compare_live(model, rule, data.test, points, spec.latency_batch_sizes, cell.seed))


def chooser_of(prepared: Prepared, plain: Scored) -> Chooser:
    """How a run chooses operating points, from the plain backbone's validation scores."""
    return Chooser(plain.val("plain")[0], prepared.spec.choose, prepared.spec.level)


def settled(chosen: Chosen, prepared: Prepared, store: Store) -> Chosen:
    """The method as the run's search chose it, from what the search left; as it is where there is no search."""
    if prepared.spec.search is None:
        return chosen
    return recall(chosen, prepared, store, prepared.spec.seeds[0]).chosen
