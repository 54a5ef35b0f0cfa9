"""The answer that a report opens with: which way to run the model, and what it buys.

Everything here is a pure function of the record's tables. No sentence says more than its intervals hold: what cannot be
told apart is called tied, and where nothing can be ranked nothing is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from eebench.report.frames import BACKBONE, Record
from eebench.report.ranking import CLOCKS, Race
from eebench.report.targets import target
from eebench.report.text import Writer, knob, listed, number, one_line, processor
from eebench.report.trust import names, trust

__all__ = ["Answer", "answer", "cost", "way"]

_Z = 1.959964  # of a 95 % interval
_ALL = ("done", "failed")  # what became of cells that could run


@dataclass(frozen=True)
class Answer:
    """What a reader takes away.

    Attributes:
        kind: ``rule`` (an exit rule pays), ``simple`` (a static model or one fixed depth does), ``plain`` (nothing is
            faster than the plain backbone), ``unknown`` (this run cannot tell).
        sentence: the answer.
        trust: how far to believe it.
        best: the comparison row (method, kind) that the sentence names first; None where it names nothing.
        tied: labels of those that cannot be told from it.
    """

    kind: str
    sentence: str
    trust: str
    best: tuple[str, str] | None = None
    tied: tuple[str, ...] = ()


def answer(race: Race, write: Writer) -> Answer:
    """The answer to one race; that of an unfinished run says so, and ranks nobody for good."""
    found, made = _answer(race, write), race.record.unfinished
    return replace(found, kind="unknown", sentence=f"Unfinished, {made}. So far: {found.sentence}") if made else found


def _answer(race: Race, write: Writer) -> Answer:
    """Refuse first, then look at what decides nothing per sample, then at exit rules."""
    refusal = _refusal(race, write)
    if refusal:
        return Answer("unknown", f"Cannot tell: {refusal}.", trust(race, None, ()))
    simple, rules = race.simple(), race.running("dynamic")
    rule = rules[0] if rules else None
    if simple is None and rule is None:
        return _nobody(race, write)
    best = max((row for row in (simple, rule) if row is not None), key=lambda row: float(row[race.speed]))
    if not race.pays(best):
        return _nothing_pays(race, best)
    if simple is not None and (rule is None or not _deciding_pays(race, rule, simple)):
        return _simple_wins(race, write, simple, rules)
    assert rule is not None
    return _rule_wins(race, write, rule, rules, simple)


def _deciding_pays(race: Race, rule: Any, simple: Any) -> bool:
    """Whether the rule is clearly ahead, or level in speed and clearly better in score.

    The record's own comparison with the static frontier at equal MACs speaks as well: against a rule that is clearly
    below it, and where a cost is the target for one that is clearly above.
    """
    if rule["over_frontier_high"] < 0:  # at its own MACs, what decides nothing scores clearly more
        return False
    if race.by_score and race.better(simple, rule):
        return False
    if race.by_score and rule["over_frontier"] > 0 and not rule["unsure_over_frontier"]:
        return True
    return race.beats(rule, simple) or (race.better(rule, simple) and not race.faster(simple, rule))


def _refusal(race: Race, write: Writer) -> str:
    """Why nothing can be ranked at all, or nothing."""
    record = race.record
    if race.rows.empty or not (race.rows["kind"] == "dynamic").any():
        failed = [cell for cell in record.cells if cell["status"] != "done"]
        return "no method has a result" + (f" ({one_line(failed[0].get('reason'))})" if failed else "")
    if record.run["spec"].get("budget") == "smoke":
        asked, ran = ({cell["method"] for cell in record.cells if cell["status"] in of} for of in (_ALL, ("done",)))
        runs = "everything runs" if ran == asked else f"{len(ran)} of {len(asked)} methods run"
        return (
            "the budget smoke trains too little to rank anything. It shows that"
            f" {runs}; --budget quick gives a first answer"
        )
    return _chance(record, write)


def _chance(record: Record, write: Writer) -> str:
    """Says so where the plain backbone learnt nothing that counts."""
    task, plain = record.run["data"]["task"], record.plain
    if plain.empty:
        return "the plain backbone has no result"
    score = float(plain["score"].mean())
    last = record.exits[(record.exits["method"] == BACKBONE) & (record.exits["split"] == "test")]
    majority = float(last["majority"].mean()) if len(last) else math.nan
    n = record.run["data"].get("n_test") or 1
    if record.metric in ("mcc", "pearson_spearman"):
        chance, noise = 0.0, _Z / math.sqrt(n)
    else:
        chance = majority if math.isfinite(majority) else 1 / max(task.get("classes") or 2, 2)
        noise = _Z * math.sqrt(chance * (1 - chance) / n)
    if score > chance + noise and (last.empty or bool(last["live"].all())):
        return ""
    what = "the majority class alone has" if math.isfinite(majority) else "guessing has"
    return f"the plain backbone itself is at chance ({write.score(score)}, where {what} {write.score(chance)})"


def _rule_wins(race: Race, write: Writer, rule: Any, rules: Sequence[Any], simple: Any) -> Answer:
    tied = race.tied(rule, rules)
    rest = "No static model and no fixed depth is faster than the plain backbone."
    if simple is not None:
        rest = f"Without deciding per sample: {way(race.record, simple)}, {_result(simple, race, write)}."
    kind, sentence = "rule", f"{_at(rule)}: {_gain(race, write, rule)}."
    if _blurred(race, rules):
        kind = "unknown"
        losses = sorted(row["drop"] for row in rules)
        span = f"{write.change(losses[-1])} to {write.change(losses[0])}"
        low, high = plain_interval(race.record)
        first = "highest score" if race.by_score else "cheapest" if race.clock == "macs" else "fastest"
        first = f"Among the {first}{'s' * race.by_score}" if tied else first.capitalize()
        sentence = f"Cannot tell which exit rule is best. {first}: {sentence}"
        rest = (
            f"Why: they change the score by {span} points, less than the plain backbone's own is known"
            f" ({write.score(low)} to {write.score(high)} {write.unit}). {rest}"
        )
    return Answer(
        kind, sentence, f"{rest} {trust(race, rule, tied)}", (rule["method"], rule["kind"]), names(tied, race.record)
    )


def _simple_wins(race: Race, write: Writer, simple: Any, rules: Sequence[Any]) -> Answer:
    rule = rules[0] if rules else None
    what = "score" if race.by_score else race.speed
    ahead = rule is not None and rule[what] > simple[what]
    sentence = (
        f"No exit rule {'clearly ' if ahead else ''}pays here. Instead, {way(race.record, simple)}:"
        f" {_gain(race, write, simple)}."
    )
    title = target(str(simple["target"])).title
    if rule is None:
        rest = f"No rule kept to {title}."
    else:
        level = race.tied(rule, rules)
        first = f"The first rule, {_at(rule)} (level: {listed(names(level, race.record), 3)})" if level else ""
        first = first or f"The best rule, {_at(rule)}"
        result = f"{_result(rule, race, write)} with {title}"
        rest = (
            f"{first}, gives only {result}."
            if race.beats(simple, rule)
            else f"{first}, gives {result}: not clearly apart."
        )
    tied = race.tied(simple, race.running("static", "fixed"))
    best = (simple["method"], simple["kind"])
    return Answer("simple", sentence, f"{rest} {trust(race, simple, tied)}", best, names(tied, race.record))


def _nothing_pays(race: Race, best: Any) -> Answer:
    name = _at(best) if best["kind"] == "dynamic" else names([best], race.record)[0]
    sentence = (
        f"Nothing pays here: with {target(str(best['target'])).title}, no exit rule, fixed depth or static model"
        f" clearly beats the plain backbone {device(race)}; {name} comes nearest with {_times(best, race)}."
    )
    return Answer("plain", sentence, trust(race, None, ()), (BACKBONE, "plain"))


def _nobody(race: Race, write: Writer) -> Answer:
    """Nothing took part: nobody met the target, or what did never learnt or was not timed."""
    rows = race.ordered()
    title = target(str(rows["target"].iloc[0])).title
    met = rows[rows["on_target"]]
    if met.empty:
        nearest = rows.sort_values("drop").iloc[0]
        name = _at(nearest) if nearest["kind"] == "dynamic" else names([nearest], race.record)[0]
        why = f"nothing kept to {title}; {name} comes nearest, at {cost(nearest, write)}"
    elif met["dead"].all():
        why = f"what kept to {title} stops at exits that never learnt"
    else:
        why = f"what kept to {title} has no speed-up that can be published"
    return Answer("plain", f"Nothing pays here: {why}.", trust(race, None, ()), (BACKBONE, "plain"))


def way(record: Record, row: Any) -> str:
    """A row that decides nothing, in words: a static model, or the network cut at a block."""
    if row["kind"] == "fixed":
        return f"cut the backbone at block {knob(row)} ({record.labels[row['method']]}'s exit there)"
    if row["knob_min"] >= record.depth:
        return "take the plain backbone, trained on for as long as the methods were"
    return f"train a model of {knob(row)} blocks alone"


def _at(row: Any) -> str:
    return f"{row['label']} at {row['knob_name']} {knob(row)}"


def _times(row: Any, race: Race) -> str:
    return f"{number(row[race.speed])}×"


def _result(row: Any, race: Race, write: Writer) -> str:
    """What competes at the target: a speed-up, or a change of score."""
    return f"{write.change(row['drop'])} points" if race.by_score else _times(row, race)


def _gain(race: Race, write: Writer, row: Any) -> str:
    """``4.75× as fast as the plain backbone on this CPU (…), for −1.5 points of accuracy [−3.9, +0.8]``."""
    if race.clock == "macs":
        return f"{_times(row, race)} fewer MACs than the plain backbone, for {cost(row, write)}"
    both = race.clock == "gpu" and math.isfinite(row["speedup_cpu"])
    other = f" and {number(row['speedup_cpu'])}× on its CPU" if both else ""
    return f"{_times(row, race)} as fast as the plain backbone {device(race)}{other}, for {cost(row, write)}"


def cost(row: Any, write: Writer) -> str:
    """What a row costs in score, with its interval: not significant where that contains none, or seeds disagree."""
    change, of = write.change(row["drop"]), write.points_of
    if not (math.isfinite(row["drop_low"]) and math.isfinite(row["drop_high"])):
        return f"{change} points of {of}"
    interval = f"[{write.change(row['drop_high'])}, {write.change(row['drop_low'])}]"
    unsure = ", n.s." if row["drop_low"] <= 0 <= row["drop_high"] else ", seeds disagree" if row["unsure_drop"] else ""
    return f"{change} points of {of}{unsure} {interval}"


def device(race: Race) -> str:
    """``on this CPU (Intel Xeon, 2 threads)``: what the clock ran on."""
    environment = race.record.run["environment"]
    if race.clock == "macs":
        return "by MACs"
    name = processor(environment.get(race.clock)) or "unnamed"
    threads = environment.get("threads") if race.clock == "cpu" else None
    more = f", {threads} thread{'' if threads == 1 else 's'}" if threads else ""
    return f"on this {CLOCKS[race.clock]} ({name}{more})"


def plain_interval(record: Record) -> tuple[float, float]:
    """95 % interval of the plain backbone's mean score over test samples: Wilson's."""
    score, n = float(record.plain["score"].mean()), record.run["data"].get("n_test") or 1
    p = min(max(score, 0.0), 1.0)
    centre = (p + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * math.sqrt(p * (1 - p) / n + _Z**2 / (4 * n**2))
    return centre - half, centre + half


def _blurred(race: Race, rules: Sequence[Any]) -> bool:
    """Whether scores cannot rank: they differ by less than the plain backbone's own interval, and no pair by test.

    A single rule competes with nobody; its loss against the plain backbone stands with its own interval.
    """
    low, high = plain_interval(race.record)
    losses = [float(row["drop"]) for row in rules]
    if len(rules) < 2 or max(*map(abs, losses), max(losses) - min(losses)) >= high - low:
        return False
    return not race.scores_differ(rules)
