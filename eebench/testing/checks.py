"""The promises of the plugin contract, one function each: what holds comes back in words, what does not is raised."""

from __future__ import annotations

import dataclasses
import math
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_model, save_model

from eebench.api import Recipe, Rows
from eebench.engine.costing import Costing
from eebench.engine.model import fixed_answer
from eebench.engine.train import fit
from eebench.testing.bench import CPU, Bench, BrokenPromiseError, must
from eebench.testing.layers import calls, disturbed, strays
from eebench.testing.oracle import compare

__all__ = ["CHECKS"]


def contract(bench: Bench) -> str:
    """The contract is kept: options, exits, knob, phases."""
    method = bench.method
    options, words = [field.name for field in dataclasses.fields(method)], type(method).__doc__ or ""
    silent = [name for name in options if name not in words]
    must(not silent, f"the class's docstring does not say what option '{silent[:1]}' does")
    must(bench.rule.knob.name not in options, f"'{bench.rule.knob.name}' is an option and the rule's knob")
    knob = bench.rule.knob
    for end in (knob.never, knob.always):
        finite = end is None or math.isfinite(end)
        must(finite, f"its knob may be {end}: give a finite number, tables and JSON have no other", type(bench.rule))
    must(len(bench.model.blocks) > 1, "there is no exit before the last block")
    phases = bench.phases()
    must(abs(sum(p.share for p in phases) - 1) < 1e-6, "the phases' shares do not sum to 1", bench.method.phases)
    logits = bench.model.trace(bench.inputs(3))[0].logits
    must(logits.shape == (3, bench.task.outputs), f"logits have shape {tuple(logits.shape)}")
    return f"exits behind blocks {', '.join(map(str, bench.model.blocks))}; knob '{bench.rule.knob.name}'"


def replay_equals_dynamic(bench: Bench) -> str:
    """Replay and dynamic inference agree: same exits, same predictions, at batch sizes 1, 7 and 64, in two orders."""
    rule, knobs = bench.rule, bench.knobs()
    with torch.inference_mode():
        logits = torch.stack([v.logits for v in bench.model.trace(bench.inputs(len(bench.data.test)))], 1)
    used: set[int] = set()
    for knob in knobs:
        try:
            used |= set(compare(bench.model, rule, bench.take, bench.trace.seen, logits, knob).tolist())
        except AssertionError as error:
            raise BrokenPromiseError(str(error), type(rule)) from None
    return f"{len(knobs)} knob values, {len(used)} different exits used"


def waiting_changes_nothing(bench: Bench) -> None:
    """A batch that waits for its hardest row gives the same answers."""
    rule = bench.rule
    inputs, ids = bench.inputs(16), torch.arange(16)
    for knob in bench.knobs():
        go, wait = (bench.model.dynamic(inputs, rule, knob, ids, wait=w) for w in (False, True))
        must(bool((go.exit == wait.exit).all()), f"knob {knob:g}: other exits")
        must(bool(torch.allclose(go.logits, wait.logits, atol=1e-4)), f"knob {knob:g}: other logits")


def extremes(bench: Bench) -> str:
    """Never stopping is the full model exactly; always stopping is the first exit."""
    rule, inputs = bench.rule, bench.inputs(16)
    ids = torch.arange(16)
    decision = bench.model.dynamic(inputs, rule, rule.knob.never, ids)
    last = len(bench.model.blocks) - 1
    must(bool((decision.exit == last).all()), f"at knob {rule.knob.never:g} (never) somebody stops early", type(rule))
    full = bench.model.trace(inputs)[-1].logits
    must(torch.equal(decision.logits, full), "never stopping does not give the full model's logits exactly")
    if not bench.model.own_last_exit:
        must(torch.equal(full, bench.model.backbone.plain(inputs)), "the full model is not the plain backbone")
    if rule.knob.always is None:
        return "no knob value makes everyone stop at the first exit"
    decision = bench.model.dynamic(inputs, rule, rule.knob.always, ids)
    must(
        bool((decision.exit == 0).all()), f"at knob {rule.knob.always:g} (always) not everyone stops at the first exit"
    )
    return "the last exit is the method's own" if bench.model.own_last_exit else "the last exit is the backbone's"


def cost_increases(bench: Bench) -> str:
    """Every further exit costs more, and no part of the cost is negative; charged as a run charges the test split."""
    costs, _ = Costing(bench.model, bench.data)(bench.data.test)
    total = costs.total.mean(0)
    must(bool((np.diff(total) > 0).all()), f"MACs per exit are {total.tolist()}")
    must(min(costs.heads.min(), costs.gates.min(), costs.backbone.min()) >= 0, "a cost is negative")
    dear = costs.static > costs.total * (1 + 1e-9)
    must(not dear.any(), "a fixed exit costs more than asking every exit up to it")
    return f"never stopping costs {total[-1] / costs.plain.mean():.3f} of the plain backbone"


def fixed_depth(bench: Bench) -> None:
    """At fixed depth an exit answers as it does after the others; one that needs them is a ChainedHead."""
    inputs = bench.inputs(16)
    for visit in bench.model.trace(inputs):
        gap = float((bench.model.static(inputs, visit.block) - visit.logits).detach().abs().max())
        must(gap < 1e-4, f"behind block {visit.block} its logits differ by {gap:.2g}", type(visit.head))


def fixed_depth_decides_nothing(bench: Bench) -> str:
    """Fixed depth runs no gate, and nothing else that its answer does not depend on."""
    inputs, model, runs = bench.inputs(8), bench.model, 0
    for block in model.blocks:
        head = model.exits[str(block)]
        own = calls(model, partial(fixed_answer, *model.reach(inputs, block)))
        gates = [name for name in own if "gate" in name.split(".")]
        must(not gates, f"behind block {block} it runs {gates[:1]}: answer without what only decides", type(head))
        answer = model.static(inputs, block)
        every = calls(model, partial(model.static, inputs, block))
        for number, name in enumerate(every):
            with disturbed(model, number):
                moved = not torch.equal(model.static(inputs, block), answer)
            must(
                moved,
                f"behind block {block} it runs '{name}' for nothing: the answer is the same whatever it says",
                type(head),
            )
        runs += len(every)
    return f"{runs} layers run"


def nothing_is_hidden(bench: Bench) -> None:
    """Whatever exits hold is a parameter, a buffer or a module: saved, trained and moved with the model."""
    hidden = strays(bench.model)
    use = "register_buffer, nn.Parameter, nn.ModuleList, or eebench.parts.Borrowed for the backbone"
    must(not hidden, f"{hidden[:1]} is none of them; use {use}")


def asking_changes_nothing(bench: Bench) -> None:
    """An exit leaves the features as they are: the next block runs on what the last one made."""
    with torch.inference_mode():
        carry: Rows = {}
        features = bench.model.backbone.embed(bench.inputs(8))
        for number in range(1, bench.model.backbone.depth + 1):
            features = bench.model.backbone.block(number, features)
            if number not in bench.model.blocks:
                continue
            tokens, before, layout = features.tokens, features.tokens.clone(), features.layout
            head = bench.model.exits[str(number)]
            carry = head(features, carry).carry
            same = features.tokens is tokens and torch.equal(tokens, before) and features.layout is layout
            must(same, f"the exit behind block {number} changes them: no exit may skip or add to a block", type(head))


def state_round_trip(bench: Bench) -> None:
    """Weights saved and loaded again give the same outputs."""
    other = bench.again(seed=99).eval()
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "weights.safetensors")
        save_model(bench.model, path)
        load_model(other, path)
    inputs = bench.inputs(8)
    for mine, theirs in zip(bench.model.trace(inputs), other.trace(inputs), strict=True):
        same = torch.allclose(mine.logits, theirs.logits, atol=1e-5)  # in other memory rounding may differ
        must(same, f"the exit behind block {mine.block} differs", type(mine.head))


def trains(bench: Bench) -> str:
    """Every phase trains what it says and nothing else, with a finite loss; the same seed gives the same weights."""
    results = []
    for _ in range(2):
        model = bench.again(seed=3)
        for phase in bench.phases():
            before = {name: value.clone() for name, value in model.named_parameters()}
            fit(model, phase, Recipe(epochs=1, batch_size=16, lr=1e-3), bench.data, seed=5, device=CPU)
            moved = {name for name, value in model.named_parameters() if not torch.equal(value, before[name])}
            stray = sorted(name for name in moved if not phase.trains(name))
            must(not stray, f"phase '{phase.name}' moved {stray[:3]}", bench.method.phases)
            must(bool(moved), f"phase '{phase.name}' moved nothing", bench.method.phases)
        results.append({name: value.clone() for name, value in model.state_dict().items()})
    first, second = results
    must(all(torch.equal(first[name], second[name]) for name in first), "two trainings with one seed differ")
    return f"{len(bench.phases())} phases"


CHECKS: tuple[Callable[[Bench], str | None], ...] = (
    contract,
    replay_equals_dynamic,
    waiting_changes_nothing,
    extremes,
    cost_increases,
    fixed_depth,
    fixed_depth_decides_nothing,
    nothing_is_hidden,
    asking_changes_nothing,
    state_round_trip,
    trains,
)
