"""Who takes part, in which order, and who can be told from whom: rules of thumb written out case by case."""

import pytest

from eebench.report.ranking import clock_of
from tests.report.fake_race import NAN, fixed, race, rule, static


def names(rows):
    return [(row["method"], row["kind"]) for row in rows]


def test_order_is_by_speed_among_those_who_kept_the_target():
    found = race(
        rule("pabee", 2.0),
        rule("sdn", 3.0),
        rule("ztw", 9.0, drop=0.03),  # lost 3 points
        rule("pcee", 8.0, dead=True),
        rule("berxit", 7.0, on_target=False),
        rule("palbert", NAN, withheld_cpu="busy"),
        fixed("sdn", 4, 2.5),
        fixed("pabee", 5, 2.2),
        static(6, 1.9),
    )
    assert [row["method"] for row in found.running("dynamic")] == ["sdn", "pabee"]
    order = [row["method"] for _, row in found.ordered(("dynamic",)).iterrows()]
    assert order == ["sdn", "pabee", "ztw", "pcee", "berxit", "palbert"]  # the withheld one is last, whatever its MACs
    assert names(found.shown())[:4] == [
        ("sdn", "dynamic"), ("sdn", "fixed"), ("pabee", "dynamic"), ("static[blocks=6]", "static")
    ]  # fmt: skip
    assert ("pabee", "fixed") not in names(found.shown())  # of the fixed depths only the best is a row of its own
    assert found.simple()["method"] == "sdn"


def test_where_a_cost_is_the_target_scores_compete():
    at = {"target": "macs_50", "on_target": True}
    found = race(rule("pabee", 2.0, **at), rule("sdn", 3.0, drop=0.03, **at))
    assert found.by_score
    assert [row["method"] for row in found.running("dynamic")] == ["pabee", "sdn"]


@pytest.mark.parametrize(
    ("a", "b", "speeds", "clear"),
    [
        (2.0, 1.5, None, True),  # 1.9 to 2.1 against 1.425 to 1.575
        (2.0, 1.9, None, False),  # intervals overlap
        (2.0, 1.5, {"sdn": [2.0, 2.0, 1.4]}, False),  # in one seed it is slower
        (2.0, 1.5, {"sdn": [2.0, 2.0, 1.6]}, True),
        (2.0, 1.5, {"sdn": [2.0, 2.0, 1.5]}, False),  # equal is not faster
        (2.0, 1.5, {"sdn": [2.0, NAN, 1.9]}, True),  # a seed without a time says nothing
    ],
)
def test_faster_needs_intervals_apart_and_every_seed(a, b, speeds, clear):
    found = race(rule("sdn", a), rule("pabee", b), speeds=speeds)
    first, second = found.running("dynamic")
    assert found.faster(first, second) is clear
    assert found.faster(second, first) is False
    assert (names(found.tied(first, [first, second])) == [("pabee", "dynamic")]) is not clear


def test_nobody_is_faster_than_itself():
    found = race(rule("sdn", 2.0), rule("pabee", 2.0))
    first, second = found.running("dynamic")
    assert not found.faster(first, second)
    assert not found.faster(first, first)


def test_paying_is_being_clearly_faster_than_plain():
    found = race(rule("sdn", 1.04), rule("pabee", 1.2), rule("ztw", 1.3), speeds={"ztw": [1.5, 1.5, 0.9]})
    rows = {row["method"]: row for row in found.running("dynamic")}
    assert not found.pays(rows["sdn"])  # 0.988 to 1.092
    assert found.pays(rows["pabee"])
    assert not found.pays(rows["ztw"])


def test_scores_are_told_apart_by_the_records_tests_where_it_has_them():
    rows = (rule("sdn", 2.0, drop=0.0, half=0.001), rule("pabee", 1.5, drop=0.02, half=0.001, on_target=True))
    by_interval = race(*rows)
    a, b = by_interval.running("dynamic")
    assert by_interval.better(a, b)
    assert not by_interval.better(b, a)
    for p, clear in ((0.2, False), (0.01, True)):
        by_test = race(*rows, pairs=[("pabee", "sdn", -0.02, p)])
        a, b = by_test.running("dynamic")
        assert by_test.better(a, b) is clear
        assert not by_test.better(b, a)
        assert by_test.scores_differ([a, b]) is clear


def test_fixed_depths_are_in_no_pair_and_compared_by_intervals():
    found = race(fixed("sdn", 4, 2.0, drop=0.0, half=0.001), rule("sdn", 1.5, drop=0.005, half=0.001),
                 pairs=[("sdn", "sdn", 0.0, 1.0)])  # fmt: skip
    assert found.better(found.best("fixed"), found.best("dynamic"))


def test_the_clock_is_the_gpu_then_the_cpu_then_macs():
    cpu = race(rule("sdn", 2.0)).rows
    assert clock_of(cpu) == "cpu"
    assert clock_of(cpu.assign(speedup_gpu=1.5)) == "gpu"
    assert clock_of(cpu.assign(speedup_cpu=NAN)) == "macs"
    assert clock_of(cpu.iloc[:0]) == "macs"
    only_plain = cpu[cpu["kind"] == "plain"]
    assert clock_of(only_plain) == "macs"
