"""``--search N``: equal effort for every method, N trials of its rates and loss weights, judged on validation data."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from eebench.api import Range
from eebench.engine.model import assemble
from eebench.engine.train import trains_backbone
from eebench.errors import UserError
from eebench.files import write_json
from eebench.leases import InUseError, LeaseLostError
from eebench.measure import quality
from eebench.measure.frontier import find_frontier, mean_score
from eebench.measure.liveness import constant_answer
from eebench.plugins.chosen import Chosen
from eebench.runs.cell import Cell
from eebench.runs.fingerprint import method_sha256
from eebench.runs.recipes import Tuned
from eebench.runs.score import Evaluation, curve
from eebench.runs.summaries import AREA_RANGE
from eebench.runs.tables import knob_values
from eebench.runs.trials import Trial, best_of, conclude, read_trials, trials_file, tried_with, words_of
from eebench.runs.workshop import Workshop

if TYPE_CHECKING:
    from pathlib import Path

    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

__all__ = ["RATES", "Search", "check_search", "validation_area"]

RATES: Mapping[str, Range] = {"lr": Range(0.1, 10.0, log=True), "backbone_lr_scale": Range(0.03, 1.0, log=True)}
"""Everybody's space: a factor on the learning rate, and the backbone's rate as a share of the exits'."""


def check_search(methods: Sequence[Chosen]) -> None:
    """See that a search can be made.

    Raises:
        UserError: Optuna is not installed, or a method's space names no option of it.
    """
    if find_spec("optuna") is None:
        raise UserError("--search needs Optuna: pip install 'eebench[search]'")
    for chosen in methods:
        method = chosen.method
        foreign = [key for key in method.space if key not in RATES and not hasattr(method, key)]
        if foreign:
            raise UserError(
                f"method '{chosen.label}': its search space names '{foreign[0]}', which it has no option for"
            )


class Search:
    """The search of one run, on its first seed; the parameters chosen there train every seed.

    Trials are stored as they end, so that a search that was stopped goes on with the next one, and a longer search with
    what a shorter one has tried. What a trial is given depends on the seed, its number and the trials before it, not on
    the process: Optuna's TPE sampler, seeded anew for each. Trial 0 is the recipe as it is.

    Args:
        workshop: makes the trials' cells; the best one's stays and is the method's own.
        base: the plain backbone's cell of the seed.
        plain: the plain backbone's 10^9 MACs on validation data.
    """

    def __init__(self, workshop: Workshop, base: Cell, plain: float) -> None:
        self.workshop, self.base, self.plain = workshop, base, plain
        self.prepared, self.store, self.say = workshop.prepared, workshop.store, workshop.reporter.say
        self.trials = self.prepared.spec.search or 0
        self.rows: list[dict[str, Any]] = []
        self.facts: dict[str, dict[str, Any]] = {}  # by label, for the record

    def best(self, chosen: Chosen) -> Chosen:
        """Search for one method: with its options as chosen; ``prepared.tuned`` has its rates from then on.

        Raises:
            UserError: every trial failed.
        """
        label, seed = chosen.label, self.base.seed
        path = trials_file(chosen, self.prepared, self.store, seed)
        trials = [] if self.workshop.force else self._found(path)[: self.trials]
        space = self._space(chosen)
        if trials:
            self.say(f"{label}: {len(trials)} trials found")
            self._write(path, trials)  # they may be a sister run's
        for number in range(len(trials), self.trials):
            trials.append(self._try(chosen, number, self._suggest(space, self._default(chosen, space), trials, chosen)))
            self._write(path, trials)
            self._keep_best(chosen, trials)
        found = conclude(chosen, trials, self.prepared, seed)
        self.rows += found.rows
        self.facts[label] = found.facts
        self.say(f"{label}: trial {found.facts['trial']} of {len(trials)} chosen, {words_of(found.facts['chosen'])}")
        return found.chosen

    def _write(self, path: Path, trials: Sequence[Trial]) -> None:
        path.parent.mkdir(exist_ok=True)
        write_json(path, [asdict(trial) for trial in trials])

    def _found(self, path: Path) -> list[Trial]:
        """The trials of this run, or the most of a sister run's."""
        found: list[Trial] = []
        for file in (path, *sorted(self.store.root.glob(f"*/search/{path.name}"))):
            if file.exists():
                found = max(found, read_trials(file), key=len)
        return found

    def _space(self, chosen: Chosen) -> dict[str, Range | tuple[Any, ...]]:
        """What is tried: the rates, and the options that the method names and nobody has typed."""
        method, task = chosen.method, self.prepared.data.task
        space: dict[str, Range | tuple[Any, ...]] = {**RATES, **method.space}
        model = assemble(method, self.prepared.backbone(), task)
        if not any(trains_backbone(model, phase) for phase in method.phases(task)):
            del space["backbone_lr_scale"]
        typed = chosen.label.partition("[")[2]
        return {key: values for key, values in space.items() if f"{key}=" not in typed}

    def _default(self, chosen: Chosen, space: Mapping[str, Range | tuple[Any, ...]]) -> dict[str, Any]:
        """The recipe as it is, moved into the space where it is outside."""
        self.prepared.tuned.pop(chosen.label, None)
        phases = chosen.method.phases(self.prepared.data.task)
        width = max(layout.dim for layout in self.prepared.backbone().layouts)
        recipes = self.prepared.recipes(chosen, phases, width)
        own: dict[str, Any] = {"lr": 1.0, "backbone_lr_scale": recipes[0][1].backbone_lr_scale}
        own |= {key: getattr(chosen.method, key) for key in space if key not in own}
        found = {}
        for key, values in space.items():
            found[key] = min(max(own[key], values.low), values.high) if isinstance(values, Range) else own[key]
        return found

    def _suggest(
        self,
        space: Mapping[str, Range | tuple[Any, ...]],
        default: dict[str, Any],
        trials: Sequence[Trial],
        chosen: Chosen,
    ) -> dict[str, Any]:
        import optuna

        if not trials:
            return default
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        text = f"search|{chosen.trained}|{self.base.seed}|{len(trials)}"
        number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
        study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=number))
        distributions = {key: _distribution(values) for key, values in space.items()}
        study.add_trials([_frozen(trial, distributions) for trial in trials])
        return dict(study.ask(distributions).params)

    def _try(self, chosen: Chosen, number: int, params: dict[str, Any]) -> Trial:
        """Train once; what goes wrong is the trial's, not the run's."""
        started = time.perf_counter()
        value, reason = None, None
        tried = tried_with(chosen, params, self.prepared)
        try:
            cell = self.workshop.method(tried, self.base.seed, self.base)
            value = validation_area(cell, tried, self.workshop, self.plain)
        except (InUseError, LeaseLostError):
            raise  # another process is at that very cell: the search goes on from here when it is done
        except Exception as error:  # a rate at which it diverges, or a stranger's own mistake
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        said = f"failed, {reason}" if value is None else f"{value:.4f}"
        self.say(f"{chosen.label}: trial {number}, {words_of(params)}: {said}")
        return Trial(number, params, value, time.perf_counter() - started, reason)

    def _keep_best(self, chosen: Chosen, trials: Sequence[Trial]) -> None:
        """Cells of trials that were not the best so far go: their values are kept."""
        best = best_of(trials)
        for trial in trials:
            if trial is not best:
                code = method_sha256(type(chosen.method)) + Tuned.of(trial.params).code
                self.store.forget(self.prepared.cell_id(chosen.trained, self.base.seed, code))


def validation_area(cell: Cell, chosen: Chosen, workshop: Workshop, plain: float) -> float:
    """Mean score within a budget, over budgets from a tenth of the plain backbone's MACs to all, on validation data.

    As ``area_under_curve`` in summary.csv, which reads on test data what this chooses on.
    """
    prepared = workshop.prepared
    task, spec = prepared.data.task, prepared.spec
    of = Evaluation(cell.trace("val"), cell.costs("val"), task, prepared.depth)
    rule = chosen.rule(task)
    points = curve(of, rule, knob_values(rule, of.trace.seen, spec.thresholds, chosen.pinned))
    cost = np.array([point.row["gmacs"] for point in points]) / plain
    score = np.array([point.row["score"] for point in points])
    floor = 0.0
    if task.kind == "classification":
        targets = of.trace.targets
        floor = quality.score(task.metric, np.full(len(targets), constant_answer(task.metric, targets)), targets)
    return mean_score(find_frontier(cost, score, cost, score), *AREA_RANGE, floor).value


def _distribution(values: Range | tuple[Any, ...]) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if not isinstance(values, Range):
        return CategoricalDistribution(values)
    if values.integer:
        return IntDistribution(math.ceil(values.low), math.floor(values.high), log=values.log)
    return FloatDistribution(values.low, values.high, log=values.log)


def _frozen(trial: Trial, distributions: Mapping[str, BaseDistribution]) -> FrozenTrial:
    from optuna.trial import TrialState, create_trial

    known = {key: distributions[key] for key in trial.params}
    if trial.value is None:
        return create_trial(params=trial.params, distributions=known, state=TrialState.FAIL)
    return create_trial(params=trial.params, distributions=known, value=trial.value)
