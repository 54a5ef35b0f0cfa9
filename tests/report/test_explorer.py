import json

import pytest

from eebench.report.explorer import explorer_json
from eebench.report.scene import Scene


def at_drop(cost, score, plain, drop):
    """Index of the cheapest point that loses at most so much, the better of equally cheap ones; None: there is none."""
    cost, score = list(cost), list(score)
    fits = [i for i in range(len(cost)) if plain - score[i] <= drop + 1e-9]
    return min(fits, key=lambda i: (cost[i], -score[i])) if fits else None


def at_budget(cost, score, budget):
    """Index of the best point within the budget, the cheaper of equally good ones; None: there is none."""
    cost, score = list(cost), list(score)
    fits = [i for i in range(len(cost)) if cost[i] <= budget * (1 + 1e-9)]
    return min(fits, key=lambda i: (-score[i], cost[i])) if fits else None


def unpack(scene):
    return json.loads(explorer_json(scene))


def sweep(data, method, seed):
    mine = next(m for m in data["methods"] if m["id"] == method)
    return next(s for s in mine["seeds"] if s["seed"] == seed)


def test_everything_a_budget_could_choose_is_there(large):
    """The thinned sweep answers every budget as the whole one does."""
    data, record = unpack(large), large.record
    plain = record.val("plain").set_index("seed")
    for method in ("ztw", "pabee"):
        for seed in (0, 1):
            val = record.val("dynamic").query("method == @method and seed == @seed")
            thin = sweep(data, method, seed)
            assert len(thin["knob"]) < len(val)
            for share in range(10, 120, 7):
                budget = share / 100 * plain.loc[seed, "gmacs"]
                whole = at_budget(val["gmacs"], val["score"], budget)
                some = at_budget(thin["valCost"], thin["val"], budget) if whole is not None else None
                assert (None if whole is None else val["knob"].iloc[whole]) == (
                    None if some is None else pytest.approx(thin["knob"][some], rel=1e-6)
                )
            for drop in (0.0, 0.005, 0.01, 0.05, 0.2):
                whole = at_drop(val["gmacs"], val["score"], plain.loc[seed, "score"], drop)
                some = at_drop(thin["valCost"], thin["val"], plain.loc[seed, "score"], drop)
                assert (None if whole is None else val["knob"].iloc[whole]) == (
                    None if some is None else pytest.approx(thin["knob"][some], rel=1e-6)
                )


def test_values_are_the_records(large):
    data = unpack(large)
    record = large.record
    thin = sweep(data, "ztw", 2)
    test = record.test("dynamic").query("method == 'ztw' and seed == 2").set_index("knob")
    knob = min(test.index, key=lambda k: abs(k - thin["knob"][3]))
    assert thin["score"][3] == pytest.approx(test.loc[knob, "score"], rel=1e-6)
    assert thin["cost"][3] == pytest.approx(test.loc[knob, "gmacs"], rel=1e-6)
    shares = record.table("shares").query("method == 'ztw' and target == 'drop_1'").groupby("exit")["share"].mean()
    mine = next(m for m in data["methods"] if m["id"] == "ztw")
    assert dict(map(tuple, mine["shares"]["drop_1"])) == pytest.approx(dict(shares), rel=1e-5)
    assert set(mine["timed"]) == {"cpu", "gpu"}
    assert [(m["id"], m["knob"]) for m in data["statics"]] == [("static", "blocks")]
    assert data["statics"][0]["seeds"][0]["knob"] in ([3, 6], [3], [6])
    assert len(data["plain"]["seeds"]) == 3
    assert data["margin"] is False


def test_names_from_outside_cannot_end_the_script(scene):
    scene.record.labels["pabee"] = "</script><b>"
    assert "</script>" not in explorer_json(scene)
    assert "<" not in explorer_json(Scene(scene.record))
