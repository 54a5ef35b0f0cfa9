"""Multiply-accumulates, counted by fvcore on the very modules inference runs, attention included.

Conventions (see docs/measurement.md): fvcore's "flop" is one multiply-accumulate, and it counts LayerNorm and BatchNorm
(5 and 2 per element) but no element-wise operators. Fused attention (``scaled_dot_product_attention``), which fvcore
leaves out by default, is counted as its two matrix products. What only feeds a decision would be traced away, so the
traced wrappers return every tensor an exit makes.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from eebench.api import ChainedHead, ExitHead, Features, Inputs, Layout, Rows
from eebench.engine.model import EarlyExitModel, fixed_answer
from eebench.engine.packing import pack, unpack
from eebench.errors import UserError

__all__ = ["UNCOUNTED", "Count", "ExitCosts", "count", "exit_costs"]

UNCOUNTED = frozenset(
    (
        # element-wise arithmetic
        "add add_ sub rsub mul mul_ div neg pow sqrt rsqrt exp log log1p erf square abs reciprocal remainder "
        "fmod floor_divide floor frac lerp cos sin addcmul clamp clamp_ clamp_min maximum minimum "
        # activations
        "sigmoid softmax log_softmax tanh relu gelu elu silu softplus "
        # reductions and sorting
        "mean sum var prod cumsum cumprod logsumexp max min amax amin argmax topk sort all any rms_norm "
        "avg_pool2d max_pool2d adaptive_max_pool2d "
        # comparisons and integer arithmetic
        "eq ne lt gt le ge where masked_fill masked_fill_ logical_not logical_and bitwise_not bitwise_and "
        "bitwise_or bitwise_xor bitwise_left_shift bitwise_right_shift __and__ __or__ __lshift__ __rshift__ "
        "__xor__ "
        # moving data
        "embedding expand expand_as repeat gather index index_select roll pad stack hstack unflatten dropout "
        "clone copy_ detach to type_as one_hot im2col tril triu "
        # making tensors
        "full zeros zeros_like ones ones_like arange new_zeros new_ones new_full fill_ meshgrid "
    ).split()
)
"""Operators that may go uncounted: element-wise, reductions, gathers, pooling. Anything else is an error."""


@dataclass(frozen=True)
class Count:
    """Multiply-accumulates of one forward pass."""

    total: float
    by_module: dict[str, float]
    by_operator: dict[str, float]
    uncounted: dict[str, int]  # operators left out, how often


@dataclass(frozen=True)
class ExitCosts:
    """MACs of one sample that stops at each exit. Arrays are (E,), in exit order, the last exit included."""

    blocks: tuple[int, ...]
    backbone: np.ndarray  # embedding, blocks, and the backbone's own classifier at the last exit
    heads: np.ndarray  # every head run up to this exit
    gates: np.ndarray  # what only decides
    static: np.ndarray  # fixed depth: the same block and this exit's answer, nothing decided on the way
    plain: float  # the backbone without exits
    uncounted: dict[str, int]

    @property
    def total(self) -> np.ndarray:
        """Everything charged, (E,)."""
        return self.backbone + self.heads + self.gates


class _Traced(nn.Module):
    """A function of a module as a module of its own, since fvcore traces modules on tensors."""

    def __init__(self, module: nn.Module, function: Callable[..., Any], names: tuple[str, ...] | None) -> None:
        super().__init__()
        self.module = module
        self.function = function
        self.names = names

    def forward(self, *tensors: Tensor) -> Any:
        inputs = tensors[0] if self.names is None else dict(zip(self.names, tensors, strict=True))
        return self.function(inputs)


def count(module: nn.Module, function: Callable[[Any], Any], inputs: Inputs) -> Count:
    """Count one call of ``function(inputs)``, which runs ``module`` and returns tensors.

    Args:
        module: whose submodules the counts are attributed to.
        function: what to run, typically a bound method of ``module``.
        inputs: a tensor, or a dictionary of tensors.

    Raises:
        UserError: an operator that neither fvcore nor eebench can count and that is not known to be negligible.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fvcore scripts at import, which newer torch calls deprecated
        from fvcore.nn import FlopCountAnalysis

        names = tuple(inputs) if isinstance(inputs, dict) else None
        tensors = tuple(inputs.values()) if isinstance(inputs, dict) else (inputs,)
        analysis = FlopCountAnalysis(_Traced(module, function, names), tensors)
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
        analysis.set_op_handle(**{"aten::scaled_dot_product_attention": _attention})
        with torch.no_grad():
            total = analysis.total()
        uncounted = {op.removeprefix("aten::"): n for op, n in analysis.unsupported_ops().items()}
        strange = sorted(op for op in uncounted if op.removeprefix("prim::") not in UNCOUNTED)
        if strange:
            raise UserError(f"cannot count the multiply-accumulates of {', '.join(strange)} in {type(module).__name__}")
        by_module = {
            name.removeprefix("module").removeprefix("."): float(value) for name, value in analysis.by_module().items()
        }
    return Count(float(total), by_module, dict(analysis.by_operator()), uncounted)


@torch.no_grad()
def exit_costs(model: EarlyExitModel, inputs: Inputs) -> ExitCosts:
    """MACs of every exit for one sample (``inputs`` has batch size 1): forced exits, never the data-dependent path.

    Embedding, every block and every head are counted once, each on the features that reach it, and summed as the walk
    runs them: counting each forced exit from the image on would take E passes through the network. Gates are the
    submodules named ``gate``; heads are the rest of what an exit runs.
    """
    uncounted: Counter[str] = Counter()
    paths = [name.split(".") for name, _ in model.named_modules()]
    gates = [".".join(path) for path in paths if path[-1] == "gate" and "gate" not in path[:-1]]

    def parts(counted: Count) -> np.ndarray:
        of_gates = sum(counted.by_module.get(name, 0.0) for name in gates)
        return np.array([counted.total - of_gates, of_gates])

    plain = count(model, model.backbone.plain, inputs).total
    features = model.backbone.embed(inputs)
    embedding = count(model, lambda x: list(pack(model.backbone.embed(x), {}).values()), inputs)
    uncounted.update(embedding.uncounted)
    trunk, asked = embedding.total, np.zeros(2)  # asked: heads and gates of the exits that were passed
    fixed = _FixedDepth(model)
    carry: Rows = {}
    rows = []
    for number in range(1, model.backbone.depth + 1):
        step = count(model, partial(_block, model, number, features.layout), pack(features, {}))
        uncounted.update(step.uncounted)
        trunk += step.total
        features = model.backbone.block(number, features)
        if number not in model.blocks:
            continue
        head, here, last = model.exits[str(number)], pack(features, carry), number == model.backbone.depth
        assert isinstance(head, ExitHead)
        output = head(features, carry)
        ask = stop = count(model, partial(_ask, head, features.layout, False), here)
        if output.logits is None:  # classified only when a sample stops
            stop = count(model, partial(_ask, head, features.layout, True), here)
        uncounted.update((stop if last else ask).uncounted)
        if last and not model.own_last_exit:
            rows.append((plain, *asked, plain))
        else:
            rows.append((trunk, *(asked + parts(stop)), trunk + fixed.answer(head, features)))
        asked = asked + parts(ask)
        fixed.passes(head, features)
        carry = output.carry
    backbone, heads_, gates_, static = np.array(rows, dtype=float).T
    return ExitCosts(model.blocks, backbone, heads_, gates_, static, plain, dict(uncounted))


class _FixedDepth:
    """Counts what fixed depth runs of the exits: an answer, and where that needs it, what is handed on before it."""

    def __init__(self, model: EarlyExitModel) -> None:
        self.model = model
        self.chained = any(isinstance(head, ChainedHead) for head in model.exits.children())
        self.handed_on = 0.0  # by the exits that were passed
        self.carry: Rows = {}

    def answer(self, head: ExitHead, features: Features) -> float:
        """Of everyone stopping at this exit, blocks left out."""
        before = self.handed_on if isinstance(head, ChainedHead) else 0.0
        return before + self._count(_answer, head, pack(features, self.carry), features.layout)

    def passes(self, head: ExitHead, features: Features) -> None:
        """Everyone goes on beyond this exit."""
        if self.chained:
            self.handed_on += self._count(_hand_on, head, pack(features, self.carry), features.layout)
            self.carry = head.hand_on(features, self.carry)

    def _count(self, run: Callable[..., Any], head: ExitHead, packed: dict[str, Tensor], layout: Layout) -> float:
        return count(self.model, partial(run, head, layout), packed).total


def _block(model: EarlyExitModel, number: int, layout: Layout, packed: dict[str, Tensor]) -> Tensor:
    return model.backbone.block(number, unpack(layout, packed)[0]).tokens


def _ask(head: ExitHead, layout: Layout, stop: bool, packed: dict[str, Tensor]) -> list[Tensor]:
    """Every tensor that asking an exit makes, so that none is traced away; the answer too for those who stop there."""
    features, carry = unpack(layout, packed)
    output = head(features, carry)
    made = [t for t in (output.logits, output.signal, *output.carry.values()) if t is not None]
    return [*made, head.classify(features, output)] if stop and output.logits is None else made


def _answer(head: ExitHead, layout: Layout, packed: dict[str, Tensor]) -> Tensor:
    return fixed_answer(head, *unpack(layout, packed))


def _hand_on(head: ExitHead, layout: Layout, packed: dict[str, Tensor]) -> list[Tensor]:
    return list(head.hand_on(*unpack(layout, packed)).values())


def _attention(inputs: list[Any], outputs: list[Any]) -> Counter[str]:
    """softmax(Q K^T) V: B·H·N·M·(d_qk + d_v) multiply-accumulates, the mask not exploited."""
    query, key, value = (torch.Size(v.type().sizes()) for v in inputs[:3])
    batch = int(np.prod(query[:-2]))
    return Counter({"attention": batch * query[-2] * key[-2] * (query[-1] + value[-1])})
