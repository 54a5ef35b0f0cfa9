"""No sentence says more of a difference than its interval: races full of ties, and races drawn at random."""

import itertools
import re

import numpy as np
import pytest

from eebench.report.answer import answer
from eebench.report.explorer import explorer_json
from eebench.report.text import Writer
from tests.report.fake_race import fixed, race, rule, static

NAMES = ("pabee", "sdn", "ztw")
BETTER = re.compile(r"\b(faster|better|beats|wins|gains|leads|outperforms|superior|clearly (above|ahead|faster))\b")


def of(found):
    return answer(found, Writer(found.record))


@pytest.mark.parametrize("names", itertools.permutations(NAMES))
def test_rules_that_are_equal_are_all_named_and_none_is_called_better(names):
    found = of(race(*(rule(name, 3.0, drop=0.004, half=0.003) for name in names), fixed("sdn", 6, 1.5)))
    assert found.sentence.startswith(
        "Cannot tell which exit rule is best. Among the fastest: PABEE at patience 4: 3.00×"
    )
    assert len(found.tied) == 2
    assert "Tied with it in speed:" in found.trust
    assert not BETTER.search(found.sentence + found.trust)


def test_what_is_level_with_a_fixed_depth_gains_nothing():
    found = of(race(*(rule(name, 3.0) for name in NAMES), fixed("sdn", 6, 3.0), static(6, 3.0)))
    assert found.kind == "simple"
    assert "not clearly apart" in found.trust
    assert "only" not in found.trust
    assert not BETTER.search((found.sentence + found.trust).replace("No score is clearly above", ""))


def test_the_best_of_level_rules_is_not_called_the_best():
    found = of(race(*(rule(name, 2.0) for name in NAMES), static(3, 6.0)))
    assert "The first rule, PABEE at patience 4 (level: SDN and Zero Time Waste), gives only 2.00×" in found.trust
    assert "The best rule" not in found.trust
    alone = of(race(rule("sdn", 2.0), rule("ztw", 1.2), static(3, 6.0)))
    assert "The best rule, SDN at patience 4, gives only 2.00×" in alone.trust


def random_race(rng):
    """Two to five ways to run a model whose speeds and losses lie close together."""
    rows = []
    for name in NAMES[: rng.integers(1, 4)]:
        rows.append(rule(name, rng.uniform(0.8, 3), drop=rng.uniform(-0.01, 0.02), half=rng.uniform(0.001, 0.02)))
    if rng.random() < 0.7:
        rows.append(fixed(rows[0]["method"], 6, rng.uniform(0.8, 3), drop=rng.uniform(-0.01, 0.02)))
    if rng.random() < 0.7:
        rows.append(static(6, rng.uniform(0.8, 3), drop=rng.uniform(-0.01, 0.02)))
    seeds = tuple(range(rng.integers(1, 4)))
    speeds = {row["method"]: list(row["speedup_cpu"] * rng.uniform(0.9, 1.1, len(seeds))) for row in rows}
    return race(*rows, seeds=seeds, speeds=speeds, n_test=int(rng.choice([100, 400, 5000])))


@pytest.mark.parametrize("seed", range(60))
def test_whatever_is_said_of_a_difference_holds_by_its_interval(seed):
    found = random_race(np.random.default_rng(seed))
    told = of(found)
    rows = {(row["method"], row["kind"]): row for _, row in found.rows.iterrows()}
    best = rows.get(told.best) if told.best else None
    rules, simple = found.running("dynamic"), found.simple()
    if told.kind in ("rule", "simple"):
        assert best[f"{found.speed}_low"] > 1  # "as fast as" is only said where it is faster
    if told.kind == "rule" and simple is not None:
        assert not found.faster(simple, best)
        assert found.faster(best, simple) or found.better(best, simple)
    if "gives only" in told.trust:
        assert found.faster(simple, rules[0])
    if "The best rule" in told.trust:
        assert not found.tied(rules[0], rules)
    if "Nothing is tied with it" in told.trust:
        pool = rules if told.kind != "simple" else found.running("static", "fixed")
        assert not found.tied(best, pool)
    if "Nothing pays here: with" in told.sentence:
        assert not any(found.pays(row) for row in found.running("dynamic", "static", "fixed"))
    if best is not None and "points of" in told.sentence:
        said = "n.s." in told.sentence
        assert said == (best["drop_low"] <= 0 <= best["drop_high"])


def test_the_explorer_ranks_nobody(large):
    import eebench.report.pages as pages

    text = (pages.HERE / "js" / "explorer.js").read_text()
    assert "No intervals here: neighbours may be tied" in text
    assert not re.search(r"comes first|\bbest\b|\bwins\b", re.sub(r"//.*", "", text))
    assert '"methods":[' in explorer_json(large)
