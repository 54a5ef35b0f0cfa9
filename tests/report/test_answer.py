"""The answer, case by case: what a colleague would be told, and never more than the intervals hold."""

import pytest

from eebench.report.answer import answer, plain_interval
from eebench.report.text import Writer
from tests.report.fake_race import NAN, fixed, race, rule, static

PAYS = rule("sdn", 4.0, drop=0.004, half=0.003)


def of(*rows, **more):
    found = race(*rows, **more)
    return answer(found, Writer(found.record))


def test_a_rule_that_pays():
    found = of(PAYS, rule("pabee", 2.0, drop=0.03, half=0.003), fixed("sdn", 4, 2.0), static(6, 1.9))
    assert found.kind == "rule"
    assert found.best == ("sdn", "dynamic")
    assert found.sentence == (
        "SDN at patience 4: 4.00× as fast as the plain backbone on this CPU (Example, 2 threads), for −0.4 points of"
        " accuracy [−0.7, −0.1]."
    )
    assert found.trust.startswith("Without deciding per sample: cut the backbone at block 4 (SDN's exit there), 2.00×.")
    assert "3 seeds × 5,000 test samples, knobs chosen on 1,000 others." in found.trust
    assert "Nothing is tied with it in speed." in found.trust
    assert "The CPU clock was quiet." in found.trust


def test_a_static_model_or_a_fixed_depth_that_is_faster_wins():
    found = of(PAYS, static(3, 6.0, drop=0.002))
    assert (found.kind, found.best) == ("simple", ("static[blocks=3]", "static"))
    assert found.sentence.startswith("No exit rule pays here. Instead, train a model of 3 blocks alone: 6.00× as fast")
    assert "The best rule, SDN at patience 4, gives only 4.00× with at most 1 point lost." in found.trust
    found = of(PAYS, fixed("pabee", 2, 6.0))
    assert found.sentence.startswith(
        "No exit rule pays here. Instead, cut the backbone at block 2 (PABEE's exit there)"
    )


def test_a_tie_goes_to_what_decides_nothing_and_claims_no_gain():
    found = of(rule("sdn", 2.02, drop=0.0, half=0.003), fixed("sdn", 5, 2.0, drop=0.0, half=0.003))
    assert found.kind == "simple"
    assert found.sentence.startswith("No exit rule clearly pays here. Instead, cut the backbone at block 5")
    assert "gives 2.02× with at most 1 point lost: not clearly apart." in found.trust
    assert "gains" not in found.sentence + found.trust


def test_level_in_speed_and_clearly_better_in_score_pays():
    found = of(rule("sdn", 2.02, drop=0.0, half=0.003), fixed("sdn", 5, 2.0, drop=0.009, half=0.001, on_target=True))
    assert (found.kind, found.best) == ("rule", ("sdn", "dynamic"))


def test_smoke_ranks_nobody():
    found = of(PAYS, budget="smoke")
    assert (found.kind, found.best, found.tied) == ("unknown", None, ())
    assert found.sentence == (
        "Cannot tell: the budget smoke trains too little to rank anything. It shows that everything runs;"
        " --budget quick gives a first answer."
    )
    assert "SDN" not in found.sentence + found.trust


@pytest.mark.parametrize(
    ("plain", "more", "says"),
    [
        (0.21, {"n_test": 400}, "at chance (21.0, where the majority class alone has 20.0)"),
        (0.11, {"majority": NAN, "n_test": 400}, "at chance (11.0, where guessing has 10.0)"),
        (0.5, {"live": False}, "at chance"),
        (0.05, {"metric": "mcc", "n_test": 400}, "at chance (5.0, where"),
    ],
)
def test_chance_level_ranks_nobody(plain, more, says):
    found = of(PAYS, plain=plain, **more)
    assert found.kind == "unknown"
    assert found.sentence.startswith("Cannot tell: the plain backbone itself is ")
    assert says in found.sentence
    assert found.best is None


def test_clearly_above_chance_is_not_chance():
    assert "chance" not in of(PAYS, plain=0.3, n_test=400).sentence
    assert "chance" not in of(PAYS, plain=0.2, majority=NAN, n_test=400).sentence  # ten classes


def test_scores_that_differ_by_less_than_the_plain_backbones_own_interval_rank_nobody():
    rows = (rule("sdn", 4.0, drop=0.006, half=0.02), rule("pabee", 2.0, drop=0.001, half=0.02))
    found = of(*rows, fixed("sdn", 4, 2.0), n_test=361)
    assert found.kind == "unknown"
    assert found.sentence.startswith("Cannot tell which exit rule is best. Fastest: SDN at patience 4: 4.00×")
    assert "n.s. [−2.6, +1.4]" in found.sentence
    assert "they change the score by −0.6 to −0.1 points, less than the plain backbone's own is known" in found.trust
    assert found.best == ("sdn", "dynamic")
    # Enough samples, or a test that tells them apart, and they are ranked.
    assert of(*rows, fixed("sdn", 4, 2.0), n_test=100_000).kind == "rule"
    assert of(*rows, fixed("sdn", 4, 2.0), n_test=361, pairs=[("sdn", "pabee", -0.005, 0.01)]).kind == "rule"


def test_static_dominance_is_told_even_where_scores_cannot_rank():
    rows = (rule("sdn", 2.0, drop=0.006, half=0.02), rule("pabee", 1.5, drop=0.001, half=0.02))
    assert of(*rows, fixed("sdn", 4, 3.0), n_test=361).kind == "simple"


def test_nothing_faster_than_plain():
    found = of(rule("sdn", 1.02), rule("pabee", 0.8), fixed("sdn", 11, 1.01))
    assert (found.kind, found.best) == ("plain", ("backbone", "plain"))
    assert found.sentence == (
        "Nothing pays here: with at most 1 point lost, no exit rule, fixed depth or static model clearly beats the"
        " plain backbone on this CPU (Example, 2 threads); SDN at patience 4 comes nearest with 1.02×."
    )


def test_nobody_kept_the_target():
    found = of(rule("sdn", 4.0, drop=0.05), rule("pabee", 2.0, drop=0.03))
    assert found.kind == "plain"
    assert found.sentence == (
        "Nothing pays here: nothing kept to at most 1 point lost; PABEE at patience 4 comes nearest, at −3.0 points of"
        " accuracy [−3.8, −2.2]."
    )


def test_dead_exits_never_win():
    found = of(rule("sdn", 9.0, dead=True, dead_share=0.9), rule("pabee", 2.0))
    assert found.best == ("pabee", "dynamic")
    assert "Not ranked, because samples stop at exits that never learnt: SDN." in found.trust
    found = of(rule("sdn", 9.0, dead=True, dead_share=0.9))
    assert found.sentence == "Nothing pays here: what kept to at most 1 point lost stops at exits that never learnt."


def test_a_withheld_speed_up_never_wins():
    held = rule("sdn", NAN, withheld_cpu="two busy processes", speedup_macs=9.0)
    found = of(held, rule("pabee", 2.0))
    assert found.best == ("pabee", "dynamic")
    assert "Speed-ups withheld: SDN (two busy processes)." in found.trust
    everything = of(held)
    assert everything.best == ("sdn", "dynamic")
    assert everything.sentence.startswith("SDN at patience 4: 9.00× fewer MACs than the plain backbone, for ")
    assert "The clock is withheld (two busy processes); speed here is by MACs." in everything.trust


def test_untimed_runs_are_judged_by_macs():
    found = of(rule("sdn", NAN))
    assert "2.20× fewer MACs" in found.sentence
    assert "Nothing was timed; speed here is by MACs." in found.trust


def test_the_gpu_leads_and_the_cpu_is_named():
    found = of(rule("sdn", 2.0, speedup_gpu=3.0, speedup_gpu_low=2.9, speedup_gpu_high=3.1))
    assert "3.00× as fast as the plain backbone on this GPU (unnamed) and 2.00× on its CPU" in found.sentence


def test_ties_are_named():
    found = of(PAYS, rule("pabee", 3.9, drop=0.004, half=0.003), rule("ztw", 2.0), fixed("sdn", 4, 1.5))
    assert found.tied == ("PABEE",)
    assert "Tied with it in speed: PABEE." in found.trust


@pytest.mark.parametrize(
    ("noisy", "says"),
    [
        (0.0, "The CPU clock was quiet."),
        (0.05, "The CPU clock was mostly quiet: 5 % of its timings swayed by more than a tenth."),
        (0.8, "The CPU clock was noisy: 80 % of its timings swayed by more than a tenth."),
    ],
)
def test_the_clock_is_judged(noisy, says):
    assert says in of(PAYS, noisy=noisy).trust


@pytest.mark.parametrize(
    ("seeds", "says"), [((0,), "One seed, "), ((0, 1), "too few seeds to publish."), ((0, 1, 2), "3 seeds × ")]
)
def test_seeds_are_counted(seeds, says):
    trust = of(PAYS | {"met": len(seeds), "seeds": len(seeds)}, seeds=seeds).trust
    assert says in trust
    assert ("too few" in trust) == (len(seeds) == 2)
    assert ("another training may differ" in trust) == (len(seeds) == 1)


def test_tiers_say_what_scores_say():
    found = of(PAYS | {"tier": 2.0}, rule("pabee", 2.0, tier=1.0), rule("ztw", 1.9, tier=2.0))
    assert "Scores clearly above it: PABEE." in found.trust
    found = of(PAYS | {"tier": 1.0}, rule("pabee", 2.0, tier=1.0), rule("ztw", 1.9, tier=2.0))
    assert "No score is clearly above its own; 1 cannot be told from it." in found.trust


def test_where_a_cost_is_the_target_the_score_decides():
    at = {"target": "macs_50", "on_target": True}
    found = of(rule("sdn", 2.0, drop=0.001, half=0.001, **at), fixed("sdn", 5, 2.5, drop=0.02, half=0.002, **at))
    assert (found.kind, found.best) == ("rule", ("sdn", "dynamic"))
    assert "(SDN's exit there), −2.0 points." in found.trust
    level = of(rule("sdn", 2.0, drop=0.001, half=0.01, **at), fixed("sdn", 5, 2.5, drop=0.002, half=0.01, **at))
    assert level.kind == "simple"
    frontier = {"over_frontier": 0.01, "unsure_over_frontier": False}
    told = of(
        rule("sdn", 2.0, drop=0.001, half=0.01, **at, **frontier), fixed("sdn", 5, 2.5, drop=0.002, half=0.01, **at)
    )
    assert told.kind == "rule"  # the record's own comparison with the static frontier at equal MACs


def test_a_rule_clearly_below_the_static_frontier_never_pays():
    below = {"over_frontier": -0.01, "over_frontier_low": -0.02, "over_frontier_high": -0.001}
    found = of(PAYS | below, fixed("sdn", 4, 2.0))
    assert (found.kind, found.best) == ("simple", ("sdn", "fixed"))
    assert "gives 4.00×" in found.trust
    level = {
        "over_frontier": -0.01,
        "over_frontier_low": -0.02,
        "over_frontier_high": 0.001,
        "unsure_over_frontier": True,
    }
    found = of(PAYS | level, fixed("sdn", 4, 2.0))
    assert found.kind == "rule"
    assert "At equal MACs, over static models and fixed depths: −1.0 points, n.s. [−2.0, +0.1]." in found.trust


def test_no_method_has_a_result():
    assert of().sentence.startswith("Cannot tell: no method has a result")


def test_the_plain_interval_is_wilsons():
    from scipy.stats import binomtest

    found = race(PAYS, plain=0.95, n_test=400)
    expected = binomtest(380, 400).proportion_ci(method="wilson")
    assert plain_interval(found.record) == pytest.approx((expected.low, expected.high), abs=1e-6)
