"""``eebench check``: does a method keep the contract? The same checks run under pytest for every installed method."""

from __future__ import annotations

import dataclasses
import itertools
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_model, save_model
from torch import Tensor

from eebench.api import ExitHead, ExitRule, Method, Phase, Recipe, Task
from eebench.data.base import Data, batches
from eebench.engine.macs import exit_costs
from eebench.engine.model import EarlyExitModel, assemble, fixed_answer
from eebench.engine.trace import Trace, collect
from eebench.engine.train import fit
from eebench.errors import UserError
from eebench.measure.replay import replay
from eebench.plugins.needs import unmet
from eebench.plugins.registry import Chosen
from eebench.plugins.tiny import tiny_backbone, tiny_data

__all__ = ["CHECKS", "KINDS", "Bench", "Finding", "check_method"]

KINDS = ("vit", "deit", "swin", "resnet", "text")
CPU = torch.device("cpu")
KNOBS = 7


@dataclass(frozen=True)
class Finding:
    """What one check found out."""

    check: str
    backbone: str
    status: str  # holds | broken | skipped
    words: str


class BrokenPromiseError(Exception):
    """A promise that does not hold, in words."""


@dataclass
class Bench:
    """A method on a tiny backbone, its exits disturbed so that samples stop all over the place."""

    chosen: Chosen
    kind: str
    task: Task
    data: Data
    model: EarlyExitModel
    trace: Trace

    @classmethod
    def make(cls, chosen: Chosen, kind: str, task: Task | None = None) -> Bench:
        """Build, disturb and trace.

        Raises:
            UserError: the method skips this backbone; the message is its reason.
        """
        task = task or Task(classes=4)
        torch.manual_seed(0)
        backbone = tiny_backbone(kind, task.outputs)
        why = unmet(chosen.method, backbone, task)
        if why is not None:
            raise UserError(why)
        data = tiny_data(kind, task)
        model = assemble(chosen.method, backbone, task).eval().requires_grad_(False)
        generator = torch.Generator().manual_seed(1)
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.add_(0.15 * torch.randn(parameter.shape, generator=generator))
        trace = collect(model, chosen.rule(task), data.test, task, device=CPU)
        return cls(chosen, kind, task, data, model, trace)

    @property
    def method(self) -> Method:
        """The method."""
        return self.chosen.method

    @property
    def rule(self) -> ExitRule:
        """A fresh rule."""
        return self.chosen.rule(self.task)

    def phases(self) -> list[Phase]:
        """Fresh phases."""
        return list(self.method.phases(self.task))

    def knobs(self) -> list[float]:
        """A handful of the rule's own knob values, the extremes included."""
        rule = self.rule
        grid = sorted(rule.grid(self.trace.seen))
        picked = {grid[i] for i in np.linspace(0, len(grid) - 1, KNOBS).round().astype(int)}
        return sorted(picked | {k for k in (rule.knob.never, rule.knob.always) if k is not None})


def check_method(chosen: Chosen, kinds: tuple[str, ...] = KINDS) -> Iterator[Finding]:
    """Run every check on every kind of backbone, one finding at a time."""
    for kind in kinds:
        try:
            bench = Bench.make(chosen, kind)
        except UserError as reason:
            yield Finding("needs", kind, "skipped", f"does not run here: {reason}")
            continue
        except Exception as error:
            yield Finding(
                "builds and traces", kind, "broken", f"{type(error).__name__}: {' '.join(str(error).split())}"
            )
            continue
        for check in CHECKS:
            words = (check.__doc__ or check.__name__).split("\n")[0].rstrip(".")
            try:
                detail = check(bench)
                yield Finding(check.__name__, kind, "holds", f"{words}{': ' + detail if detail else ''}")
            except BrokenPromiseError as broken:
                yield Finding(check.__name__, kind, "broken", f"{words}: NOT so, {broken}")
            except Exception as error:  # a stranger's method may raise anything
                text = " ".join(str(error).split())
                yield Finding(check.__name__, kind, "broken", f"{words}: it raised {type(error).__name__}: {text}")


def contract(bench: Bench) -> str:
    """The contract is kept: options, exits, knob, phases."""
    method = bench.method
    options, words = [field.name for field in dataclasses.fields(method)], type(method).__doc__ or ""
    silent = [name for name in options if name not in words]
    _must(not silent, f"the class's docstring does not say what option '{silent[:1]}' does")
    _must(bench.rule.knob.name not in options, f"'{bench.rule.knob.name}' is an option and the rule's knob")
    _must(all(isinstance(head, ExitHead) for head in bench.model.exits.children()), "an exit is not an ExitHead")
    _must(len(bench.model.blocks) > 1, "there is no exit before the last block")
    phases = bench.phases()
    _must(abs(sum(p.share for p in phases) - 1) < 1e-6, "the phases' shares do not sum to 1")
    logits = bench.model.trace(_inputs(bench, 3))[0].logits
    _must(logits.shape == (3, bench.task.outputs), f"logits have shape {tuple(logits.shape)}")
    return f"exits behind blocks {', '.join(map(str, bench.model.blocks))}; knob '{bench.rule.knob.name}'"


def replay_equals_dynamic(bench: Bench) -> str:
    """Replay and dynamic inference agree: same exits, same predictions, at batch sizes 1, 7 and 64, in two orders."""
    rule, knobs = bench.rule, bench.knobs()
    logits = torch.stack([v.logits for v in bench.model.trace(_inputs(bench, len(bench.data.test)))], 1)
    for knob in knobs:
        where = replay(rule, bench.trace.seen, knob)
        for order in (np.arange(len(where)), np.random.default_rng(2).permutation(len(where))):
            for size in (1, 7, 64):
                exits, answers = dynamic_all(bench, knob, order, size)
                wrong = np.flatnonzero(exits != where)
                _must(not len(wrong), f"knob {knob:g}, batch {size}: {len(wrong)} samples stop elsewhere")
                gap = float((answers - logits[np.arange(len(where)), where]).abs().max())
                _must(gap < 1e-4, f"knob {knob:g}, batch {size}: logits differ by {gap:.2g}")
    return f"{len(knobs)} knob values, {len(set(_all_exits(bench, knobs)))} different exits used"


def waiting_changes_nothing(bench: Bench) -> None:
    """A batch that waits for its hardest row gives the same answers."""
    rule = bench.rule
    inputs, ids = _inputs(bench, 16), torch.arange(16)
    for knob in bench.knobs():
        go, wait = (bench.model.dynamic(inputs, rule, knob, ids, wait=w) for w in (False, True))
        _must(bool((go.exit == wait.exit).all()), f"knob {knob:g}: other exits")
        _must(bool(torch.allclose(go.logits, wait.logits, atol=1e-4)), f"knob {knob:g}: other logits")


def extremes(bench: Bench) -> str:
    """Never stopping is the full model exactly; always stopping is the first exit."""
    rule, inputs = bench.rule, _inputs(bench, 16)
    ids = torch.arange(16)
    decision = bench.model.dynamic(inputs, rule, rule.knob.never, ids)
    last = len(bench.model.blocks) - 1
    _must(bool((decision.exit == last).all()), f"at knob {rule.knob.never:g} (never) somebody stops early")
    full = bench.model.trace(inputs)[-1].logits
    _must(torch.equal(decision.logits, full), "never stopping does not give the full model's logits exactly")
    if not bench.model.own_last_exit:
        _must(torch.equal(full, bench.model.backbone.plain(inputs)), "the full model is not the plain backbone")
    if rule.knob.always is None:
        return "no knob value makes everyone stop at the first exit"
    decision = bench.model.dynamic(inputs, rule, rule.knob.always, ids)
    _must(
        bool((decision.exit == 0).all()), f"at knob {rule.knob.always:g} (always) not everyone stops at the first exit"
    )
    return "the last exit is the method's own" if bench.model.own_last_exit else "the last exit is the backbone's"


def cost_increases(bench: Bench) -> str:
    """Every further exit costs more, and no part of the cost is negative."""
    costs = exit_costs(bench.model, _inputs(bench, 1))
    total = costs.total
    _must(bool((np.diff(total) > 0).all()), f"MACs per exit are {total.tolist()}")
    _must(min(costs.heads.min(), costs.gates.min(), costs.backbone.min()) >= 0, "a cost is negative")
    _must(bool((costs.static <= total + 1e-6).all()), "a fixed exit costs more than asking every exit up to it")
    return f"never stopping costs {total[-1] / costs.plain:.3f} of the plain backbone"


def fixed_depth(bench: Bench) -> None:
    """At fixed depth an exit answers as it does after the others; one that needs them is a ChainedHead."""
    inputs = _inputs(bench, 16)
    for visit in bench.model.trace(inputs):
        gap = float((bench.model.static(inputs, visit.block) - visit.logits).abs().max())
        _must(gap < 1e-4, f"behind block {visit.block} its logits differ by {gap:.2g}")


def fixed_depth_decides_nothing(bench: Bench) -> str:
    """Fixed depth runs no gate, and nothing else that its answer does not depend on."""
    inputs, model, runs = _inputs(bench, 8), bench.model, 0
    for block in model.blocks:
        own = _calls(model, partial(fixed_answer, *model.reach(inputs, block)))
        gates = [name for name in own if "gate" in name.split(".")]
        _must(not gates, f"behind block {block} it runs {gates[:1]}: answer without what only decides")
        answer = model.static(inputs, block)
        calls = _calls(model, partial(model.static, inputs, block))
        for number, name in enumerate(calls):
            with _disturbed(model, number):
                moved = not torch.equal(model.static(inputs, block), answer)
            _must(moved, f"behind block {block} it runs '{name}' for nothing: the answer is the same whatever it says")
        runs += len(calls)
    return f"{runs} layers run"


def state_round_trip(bench: Bench) -> None:
    """Weights saved and loaded again give the same outputs."""
    torch.manual_seed(99)
    backbone = tiny_backbone(bench.kind, bench.task.outputs)
    other = assemble(bench.method, backbone, bench.task).eval()
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "weights.safetensors")
        save_model(bench.model, path)
        load_model(other, path)
    inputs = _inputs(bench, 8)
    for mine, theirs in zip(bench.model.trace(inputs), other.trace(inputs), strict=True):
        same = torch.allclose(
            mine.logits, theirs.logits, atol=1e-5
        )  # other memory, other alignment: rounding may differ
        _must(same, f"the exit behind block {mine.block} differs")


def trains(bench: Bench) -> str:
    """Every phase trains what it says and nothing else, with a finite loss; the same seed gives the same weights."""
    results = []
    for _ in range(2):
        torch.manual_seed(3)
        backbone = tiny_backbone(bench.kind, bench.task.outputs)
        model = assemble(bench.method, backbone, bench.task)
        for phase in bench.phases():
            before = {name: value.clone() for name, value in model.named_parameters()}
            fit(model, phase, Recipe(epochs=1, batch_size=16, lr=1e-3), bench.data, seed=5, device=CPU)
            moved = {name for name, value in model.named_parameters() if not torch.equal(value, before[name])}
            stray = sorted(name for name in moved if not phase.trains(name))
            _must(not stray, f"phase '{phase.name}' moved {stray[:3]}")
            _must(bool(moved), f"phase '{phase.name}' moved nothing")
        results.append({name: value.clone() for name, value in model.state_dict().items()})
    first, second = results
    _must(all(torch.equal(first[name], second[name]) for name in first), "two trainings with one seed differ")
    return f"{len(bench.phases())} phases"


CHECKS: tuple[Callable[[Bench], str | None], ...] = (
    contract,
    replay_equals_dynamic,
    waiting_changes_nothing,
    extremes,
    cost_increases,
    fixed_depth,
    fixed_depth_decides_nothing,
    state_round_trip,
    trains,
)


@contextmanager
def _watched(model: EarlyExitModel, watch: Callable[[str, Any], Any]) -> Iterator[None]:
    """Have ``watch(name, output)`` called for every layer with weights that an exit runs; it may replace the output."""
    handles = []
    for name, module in model.exits.named_modules():
        if any(True for _ in module.parameters(recurse=False)):
            handles.append(module.register_forward_hook(lambda _, __, output, name=name: watch(name, output)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _calls(model: EarlyExitModel, run: Callable[[], Any]) -> list[str]:
    """Names of the layers with weights that a call runs in exits, in order."""
    calls: list[str] = []
    with _watched(model, lambda name, _: calls.append(name)):
        run()
    return calls


@contextmanager
def _disturbed(model: EarlyExitModel, number: int) -> Iterator[None]:
    """The output of call ``number`` (from 0) of the exits' layers has noise added."""
    generator, count = torch.Generator().manual_seed(number), itertools.count()

    def disturb(name: str, output: Any) -> Any:
        if next(count) != number or not isinstance(output, Tensor) or not output.is_floating_point():
            return None
        return output + torch.randn(output.shape, generator=generator)

    with _watched(model, disturb):
        yield


def dynamic_all(bench: Bench, knob: float, order: np.ndarray, size: int) -> tuple[np.ndarray, Tensor]:
    """Dynamic inference over the test split in batches of ``size``, in some order: exits (N,) and logits (N, K)."""
    rule = bench.rule
    exits = np.empty(len(order), dtype=np.int64)
    answers = torch.empty(len(order), bench.task.outputs)
    with torch.inference_mode():
        for start in range(0, len(order), size):
            ids = order[start : start + size]
            inputs = bench.model.backbone.prepare([bench.data.test.inputs[int(i)] for i in ids])
            decision = bench.model.dynamic(inputs, rule, knob, torch.from_numpy(ids))
            exits[ids] = decision.exit.numpy()
            answers[ids] = decision.logits
    return exits, answers


def _all_exits(bench: Bench, knobs: list[float]) -> list[int]:
    rule = bench.rule
    return [int(e) for knob in knobs for e in replay(rule, bench.trace.seen, knob)]


def _inputs(bench: Bench, n: int) -> Any:
    return next(batches(bench.data.test, bench.model.backbone.prepare, n)).inputs


def _must(holds: bool, words: str) -> None:
    if not holds:
        raise BrokenPromiseError(words)
