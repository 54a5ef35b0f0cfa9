"""Equal effort: N trials a method, the recipe as it is among them, chosen on validation data, gone on with by trial."""

import json
import math

import numpy as np
import pandas as pd
import pytest

from eebench.api import Range
from eebench.errors import UserError
from eebench.plugins.registry import Registry
from eebench.progress import Reporter
from eebench.runs import search as search_module
from eebench.runs.how import Execution
from eebench.runs.prepare import prepare
from eebench.runs.runner import execute
from eebench.runs.search import Search, check_search, validation_area
from eebench.runs.spec import make_spec
from eebench.runs.store import Store
from eebench.runs.trials import Trial, best_of
from eebench.runs.workshop import Workshop
from eebench.schema import TABLES

pytest.importorskip("optuna")

PABEE, JEI, PCEE = "pabee[blocks=4+8]", "jei_dnn[blocks=4+8]", "pcee[blocks=4+8]"


class CutError(BaseException):
    """As a kill: nothing catches it."""


def searching(path, trials, methods=(JEI,), run="run", force=False, **values):
    spec = make_spec(
        methods=methods, dataset="digits", budget="smoke", device="cpu", search=trials, static=(), **values
    )
    prepared = prepare(spec, Registry.installed())
    workshop = Workshop(prepared, Store(path, run), Reporter(quiet=True), force=force)
    base = workshop.backbone(0)
    costs = base.costs("val")
    return Search(workshop, base, float(costs.plain.mean()) / 1e9)


def test_the_recipe_as_it_is_is_tried_first_and_the_best_is_chosen(tmp_path):
    search = searching(tmp_path, 4)
    (asked,) = search.prepared.methods
    chosen = search.best(asked)
    rows = search.rows
    assert [row["trial"] for row in rows] == [0, 1, 2, 3]
    assert (rows[0]["lr"], rows[0]["options"]) == (1.0, "tradeoff=0.01")
    assert all(row["backbone_lr_scale"] is None for row in rows), "JEI-DNN trains nothing of the backbone"
    assert len({row["lr"] for row in rows}) == 4
    assert all(0.1 <= row["lr"] <= 10 for row in rows)
    values = [row["value"] for row in rows]
    (best,) = (row["trial"] for row in rows if row["chosen"])
    assert best == int(np.argmax(values))
    facts = search.facts[JEI]
    assert (facts["trials"], facts["trial"], facts["value"], facts["default"]) == (4, best, max(values), values[0])
    assert facts["seconds"] == pytest.approx(sum(row["seconds"] for row in rows))
    assert chosen.label == JEI
    assert chosen.method.tradeoff == facts["chosen"]["tradeoff"]
    assert search.prepared.tuned[JEI].lr == facts["chosen"]["lr"]


def test_the_best_trials_cell_is_the_methods_own_and_the_others_are_gone(tmp_path):
    search = searching(tmp_path, 3)
    chosen = search.best(search.prepared.methods[0])
    cells = [path for path in (tmp_path / "run" / "cells").iterdir() if path.name.startswith("jei")]
    assert len(cells) == 1
    cell = search.workshop.method(chosen, 0, search.base)
    assert cell.reused
    assert cell.path == cells[0]
    area = validation_area(cell, chosen, search.workshop, search.plain)
    assert area == pytest.approx(search.facts[JEI]["value"])
    factor = search.facts[JEI]["chosen"]["lr"]
    phases = chosen.method.phases(search.prepared.data.task)
    search.prepared.tuned.clear()
    plain = [recipe.lr for _, recipe in search.prepared.recipes(chosen, phases, 64)]
    assert [phase["lr"] for phase in cell.facts["phases"]] == pytest.approx([factor * lr for lr in plain])


def test_a_search_that_was_stopped_goes_on_by_trial_to_the_same_end(tmp_path, monkeypatch):
    whole = searching(tmp_path / "whole", 4)
    whole.best(whole.prepared.methods[0])
    real, tried = Search._try, []

    def stopped(self, chosen, number, params):
        if number == 2:
            raise CutError
        return real(self, chosen, number, params)

    with monkeypatch.context() as patch:
        patch.setattr(Search, "_try", stopped)
        parted = searching(tmp_path / "parted", 4)
        with pytest.raises(CutError):
            parted.best(parted.prepared.methods[0])

    def noted(self, chosen, number, params):
        tried.append(number)
        return real(self, chosen, number, params)

    monkeypatch.setattr(Search, "_try", noted)
    again = searching(tmp_path / "parted", 4)
    again.best(again.prepared.methods[0])
    assert tried == [2, 3]
    for row in (*whole.rows, *again.rows):
        del row["seconds"]
    assert again.rows == whole.rows


def test_a_longer_search_begins_with_what_a_shorter_one_of_a_sister_run_tried(tmp_path, monkeypatch):
    short = searching(tmp_path, 2, run="short")
    short.best(short.prepared.methods[0])
    real, tried = Search._try, []

    def noted(self, chosen, number, params):
        tried.append(number)
        return real(self, chosen, number, params)

    monkeypatch.setattr(Search, "_try", noted)
    long = searching(tmp_path, 3, run="long")
    long.best(long.prepared.methods[0])
    assert tried == [2]
    forced = searching(tmp_path, 2, run="forced", force=True)
    forced.best(forced.prepared.methods[0])
    assert tried == [2, 0, 1]


def test_a_trial_that_fails_is_recorded_and_not_chosen(tmp_path, monkeypatch):
    def fails_early(self, chosen, seed, base):
        if self.prepared.tuned[chosen.label].lr == 1.0:
            raise FloatingPointError("the loss is nan")
        return real(self, chosen, seed, base)

    real = Workshop.method
    monkeypatch.setattr(Workshop, "method", fails_early)
    search = searching(tmp_path, 2)
    search.best(search.prepared.methods[0])
    first, second = search.rows
    assert (first["value"], first["chosen"], first["reason"]) == (None, False, "FloatingPointError: the loss is nan")
    assert second["chosen"]
    assert search.facts[JEI]["default"] is None


def test_when_every_trial_fails_so_does_the_method(tmp_path, monkeypatch):
    def fails(self, chosen, seed, base):
        raise FloatingPointError("the loss is nan")

    search = searching(tmp_path, 2)
    monkeypatch.setattr(Workshop, "method", fails)
    with pytest.raises(UserError, match="all 2 trials failed, the last with FloatingPointError: the loss is nan"):
        search.best(search.prepared.methods[0])
    assert search.prepared.tuned == {}


@pytest.mark.parametrize(
    ("asked", "space"),
    [
        (PABEE, {"lr", "backbone_lr_scale"}),
        (JEI, {"lr", "tradeoff"}),
        ("jei_dnn[tradeoff=0.5]", {"lr"}),
        (PCEE, {"lr", "backbone_lr_scale", "weights"}),
        ("sdn[training=ic_only]", {"lr"}),
        ("palbert", {"lr", "backbone_lr_scale", "beta", "lambda_p"}),
    ],
)
def test_what_is_searched(asked, space, tmp_path, monkeypatch):
    monkeypatch.setattr(Workshop, "backbone", lambda self, seed: pytest.fail("nothing is trained here"))
    spec = make_spec(methods=(asked,), dataset="digits", budget="smoke", device="cpu", search=2)
    prepared = prepare(spec, Registry.installed())
    search = Search.__new__(Search)
    search.prepared = prepared
    (chosen,) = prepared.methods
    found = search._space(chosen)
    assert set(found) == space
    default = search._default(chosen, found)
    assert default["lr"] == 1.0
    assert default.get("backbone_lr_scale", 0.3) == 0.3


@pytest.mark.parametrize("name", ["berxit", "branchynet", "jei_dnn", "lgvit", "pabee", "palbert", "pcee", "pondernet"])
def test_a_methods_space_names_its_options_and_holds_its_defaults(name):
    (chosen,) = Registry.installed().choose(name)
    for key, values in chosen.method.space.items():
        own = getattr(chosen.method, key)
        assert values.low <= own <= values.high if isinstance(values, Range) else own in values
    check_search([chosen])


def test_equal_values_leave_the_recipe_as_it_is():
    trials = [Trial(0, {}, 0.5, 1.0), Trial(1, {}, 0.5, 1.0), Trial(2, {}, None, 1.0, "why")]
    assert best_of(trials).number == 0
    assert best_of(trials[2:]) is None


@pytest.mark.parametrize(("low", "high", "log"), [(1, 1, False), (2, 1, False), (0, 1, True)])
def test_a_range_that_is_none(low, high, log):
    with pytest.raises(ValueError, match="no range to search"):
        Range(low, high, log=log)


def test_without_optuna_it_is_said_in_one_line(monkeypatch):
    monkeypatch.setattr(search_module, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"--search needs Optuna: pip install 'eebench\[search\]'"):
        check_search([])


def test_a_run_with_a_search(tmp_path):
    spec = make_spec(
        methods=(PCEE, JEI),
        dataset="digits",
        budget="smoke",
        device="cpu",
        search=2,
        seeds=(0, 1),
        static=(),
        latency_samples=4,
    )
    outcome = execute(
        spec, Registry.installed(), tmp_path, reporter=Reporter(quiet=True), how=Execution(in_process=True)
    )
    table = pd.read_csv(outcome.path / "search.csv")
    assert list(table.columns) == list(TABLES["search"])
    assert table.groupby("method").size().to_dict() == {PCEE: 2, JEI: 2}
    assert table.groupby("method")["chosen"].sum().to_dict() == {PCEE: 1, JEI: 1}
    assert set(table["seed"]) == {0}, "searched once, on the first seed"
    record = json.loads((outcome.path / "run.json").read_text())
    cells = [cell for cell in record["cells"] if cell["method"] in (PCEE, JEI)]
    assert len(cells) == 4
    for cell in cells:
        assert cell["status"] == "done"
        assert cell["search"]["trials"] == 2
        assert math.isfinite(cell["search"]["value"])
    for label in (PCEE, JEI):
        rates = {tuple(phase["lr"] for phase in cell["phases"]) for cell in cells if cell["method"] == label}
        assert len(rates) == 1, "every seed is trained with what was chosen on the first"
