"""What a search leaves behind: the trials of a method, the best of them, and the method as that one had it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from eebench.errors import UserError
from eebench.files import read_json
from eebench.plugins.chosen import Chosen
from eebench.runs.fingerprint import method_sha256
from eebench.runs.prepare import Prepared
from eebench.runs.recipes import Tuned
from eebench.runs.store import Store

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "Concluded",
    "Trial",
    "best_of",
    "conclude",
    "read_trials",
    "recall",
    "trials_file",
    "tried_with",
    "words_of",
]


@dataclass(frozen=True)
class Trial:
    """One training with other rates and loss weights."""

    number: int
    params: dict[str, Any]
    value: float | None  # area on validation data; None: it failed
    seconds: float
    reason: str | None = None

    def row(self, label: str, seed: int, best: int) -> dict[str, Any]:
        """A row of search.csv."""
        tuned = Tuned.of(self.params)
        options = ",".join(f"{key}={_plain(value)}" for key, value in sorted(tuned.options.items()))
        row = {"method": label, "seed": seed, "trial": self.number, "lr": tuned.lr, "options": options}
        row |= {"backbone_lr_scale": tuned.backbone_lr_scale, "value": self.value, "seconds": self.seconds}
        return row | {"chosen": self.number == best, "reason": self.reason}


@dataclass(frozen=True)
class Concluded:
    """What a search found for one method."""

    chosen: Chosen  # with its options as chosen
    rows: list[dict[str, Any]]  # of search.csv
    facts: dict[str, Any]  # for the record


def recall(chosen: Chosen, prepared: Prepared, store: Store, seed: int) -> Concluded:
    """What a finished search of this run found for a method; ``prepared.tuned`` has its rates from then on.

    Args:
        chosen: the method as asked for.
        prepared: the run.
        store: where the search left its trials.
        seed: it was made on.

    Raises:
        UserError: every trial failed.
    """
    trials = read_trials(trials_file(chosen, prepared, store, seed))[: prepared.spec.search]
    return conclude(chosen, trials, prepared, seed)


def conclude(chosen: Chosen, trials: Sequence[Trial], prepared: Prepared, seed: int) -> Concluded:
    """What these trials found.

    Raises:
        UserError: every one failed.
    """
    best = best_of(trials)
    if best is None:
        prepared.tuned.pop(chosen.label, None)
        raise UserError(f"all {len(trials)} trials failed, the last with {trials[-1].reason}")
    rows = [trial.row(chosen.label, seed, best.number) for trial in trials]
    facts: dict[str, Any] = {"trials": len(trials), "seconds": sum(trial.seconds for trial in trials)}
    facts |= {"chosen": best.params, "trial": best.number, "value": best.value, "default": trials[0].value}
    return Concluded(tried_with(chosen, best.params, prepared), rows, facts)


def tried_with(chosen: Chosen, params: Mapping[str, Any], prepared: Prepared) -> Chosen:
    """The method with a trial's options; its rates go to the run."""
    tuned = Tuned.of(params)
    prepared.tuned[chosen.label] = tuned
    return replace(chosen, method=replace(chosen.method, **tuned.options))


def trials_file(chosen: Chosen, prepared: Prepared, store: Store, seed: int) -> Path:
    """Where a method's trials lie in the run's folder."""
    name = prepared.cell_id(f"search-{chosen.trained}", seed, method_sha256(type(chosen.method)))
    return store.path / "search" / f"{name}.json"


def read_trials(path: Path) -> list[Trial]:
    """The trials in a file."""
    return [Trial(**values) for values in read_json(path)]


def best_of(trials: Sequence[Trial]) -> Trial | None:
    """The best trial, the earliest of equals: trial 0, the recipe as it is, stays unless another one is better."""
    done = [trial for trial in trials if trial.value is not None]
    return max(done, key=lambda trial: (trial.value, -trial.number), default=None)


def words_of(params: Mapping[str, Any]) -> str:
    """A trial's parameters for people."""
    return ", ".join(f"{key} {_plain(value)}" for key, value in params.items())


def _plain(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
