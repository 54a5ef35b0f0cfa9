"""Other runtimes than eager PyTorch: the same model compiled, or in ONNX Runtime, cut at its exits and driven alike.

Every runtime runs the plain network as one graph and a method as one graph per stretch of blocks between two exits
(:mod:`eebench.deploy`), so that a method is never compared with a plain backbone in a slower runtime than its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from eebench.api import ExitRule, Inputs
from eebench.deploy.drive import Held, drive
from eebench.deploy.export import CLOSE, Described, export
from eebench.deploy.graphs import Graph, trace_all
from eebench.deploy.runner import Runner, needs_of_graphs
from eebench.deploy.segments import cut, examples, named, unnamed
from eebench.deploy.torch_runner import TensorEngine
from eebench.engine.model import Decision, EarlyExitModel
from eebench.errors import UserError
from eebench.schema import EAGER
from eebench.timing.entrant import Opened

__all__ = ["OPENERS", "Compiled", "InOnnxRuntime", "open_in"]


class InOnnxRuntime:
    """A model in ONNX Runtime, on as many threads as torch has.

    Args:
        model: in eval mode, on the CPU.
        rule: its rule; None for a model that stops nowhere.
        folder: where it is exported to; it must not be there yet.

    Raises:
        UserError: it cannot be exported.
    """

    def __init__(self, model: EarlyExitModel, rule: ExitRule | None, folder: Path) -> None:
        export(model, rule, folder, Described("timed", None if rule is None else rule.knob.never))
        self.runner = Runner(folder, threads=torch.get_num_threads())
        self.blocks = model.blocks

    def plain(self, inputs: Inputs) -> np.ndarray:
        """Logits (B, K)."""
        return self.runner.decide(_arrays(inputs))[0]

    def dynamic(self, inputs: Inputs, ids: Tensor, knob: float) -> Decision:
        """Inference that really stops."""
        logits, exits = self.runner.decide(_arrays(inputs), knob, ids=ids.numpy())
        return Decision(torch.from_numpy(logits), torch.from_numpy(exits), self.blocks)


class Compiled(TensorEngine):
    """A model compiled by ``torch.compile``, segment by segment, for any batch size.

    Args:
        model: in eval mode, on the CPU.
        rule: its rule; None for a model that stops nowhere.
        folder: not used.
        compiler: what compiles a traced program; ``torch.compile`` unless a test says otherwise.

    Raises:
        UserError: it cannot be traced or compiled.
    """

    def __init__(
        self,
        model: EarlyExitModel,
        rule: ExitRule | None,
        folder: Path,
        compiler: Callable[[Any], Callable[..., Any]] | None = None,
    ) -> None:
        self._compile = compiler or _compiled
        stretches = trace_all(*cut(model, rule))
        self.needs = needs_of_graphs([(each.segment, each.answer) for each in stretches])
        self.blocks, self._rule = model.blocks, rule
        try:
            self._segments = [self._opened(each.segment) for each in stretches]
            self._answers = [None if each.answer is None else self._opened(each.answer) for each in stretches]
            self._try(model)
        except UserError:
            raise
        except Exception as error:  # whatever the compiler raises on what it cannot compile
            raise UserError(f"torch.compile: {_line(error)}") from error

    def plain(self, inputs: Inputs) -> Tensor:
        """Logits (B, K)."""
        return self._segments[0](named(inputs))["logits"]

    def dynamic(self, inputs: Inputs, ids: Tensor, knob: float) -> Decision:
        """Inference that really stops."""
        assert self._rule is not None
        held = {**named(inputs), "ids": ids}
        logits, exits = drive(self, len(self._segments), held, len(ids), self._rule.step, knob)
        return Decision(logits, torch.from_numpy(exits), self.blocks)

    def segment(self, position: int, held: Held) -> Held:
        """What a segment makes, by name."""
        return self._segments[position](held)

    def answer(self, position: int, held: Held) -> Tensor:
        """Logits of rows that stop at an exit that classifies only these."""
        late = self._answers[position]
        assert late is not None
        return late(held)["logits"]

    def _opened(self, graph: Graph) -> Callable[[Held], Held]:
        module = graph.program.module(check_guards=False)
        module._forward_pre_hooks.clear()  # they check shapes in Python, which takes longer than a small block
        run, takes, gives = self._compile(module), tuple(graph.takes), graph.gives

        def call(held: Held) -> Held:
            return dict(zip(gives, run(*(held[name] for name in takes)), strict=True))

        return call

    @torch.inference_mode()
    def _try(self, model: EarlyExitModel) -> None:
        """Compile all of it now, for one sample and for several, and see that it answers as the model does."""
        for batch in examples(model):
            for rows in (slice(1), slice(None)):
                held = {name: column[rows] for name, column in batch.items()}
                inputs = unnamed(held)
                if self._rule is None:
                    _same(self.plain(inputs), model.backbone.plain(inputs))
                    continue
                ids = torch.arange(len(next(iter(held.values()))))
                knob = float(self._rule.knob.never)
                _same(self.dynamic(inputs, ids, knob).logits, model.dynamic(inputs, self._rule, knob, ids).logits)
                for position, late in enumerate(self._answers):
                    if late is not None:
                        step = partial(_stop_at, position)
                        drive(self, len(self._segments), {**held, "ids": ids}, len(ids), step, knob)


OPENERS: dict[str, Callable[[EarlyExitModel, ExitRule | None, Path], Opened]] = {
    "compile": Compiled,
    "onnxruntime": InOnnxRuntime,
}
"""Runtimes beside eager PyTorch, by name."""


def open_in(
    runtimes: Sequence[str], model: EarlyExitModel, rule: ExitRule | None, folder: Path
) -> tuple[dict[str, Opened], dict[str, str]]:
    """A model in each of some runtimes, eager left out; and of those where it cannot be, why.

    Args:
        runtimes: names.
        model: in eval mode, on the CPU.
        rule: its rule.
        folder: where runtimes may write.
    """
    opened: dict[str, Opened] = {}
    failed: dict[str, str] = {}
    for name in runtimes:
        if name == EAGER:
            continue
        try:
            opened[name] = OPENERS[name](model, rule, folder / name)
        except UserError as error:
            failed[name] = str(error)
        except Exception as error:  # a stranger's exit, or a runtime, may raise whatever it likes: the others go on
            failed[name] = _line(error)
    return opened, failed


def _stop_at(position: int, state: dict[str, Any], seen: dict[str, Any], knob: float) -> tuple[Any, dict[str, Any]]:
    """What a rule decides that has everyone stop at one exit; its state is how many exits were asked."""
    rows = len(next(iter(seen.values())))
    asked = state["asked"] if state else np.zeros(rows, dtype=np.int64)
    return asked >= position, {"asked": asked + 1}


def _same(found: Tensor, live: Tensor) -> None:
    """A compiler that answers otherwise is none to be timed."""
    far = float((found - live).abs().max())
    if not far <= CLOSE * max(1.0, float(live.abs().max())):
        raise UserError(f"its logits are {far:.2g} off the model's own")


def _compiled(program: Any) -> Callable[..., Any]:
    """For any batch size, whole or not at all; that the weights are the same as before is not asked at every call."""
    same = torch.compiler.skip_guard_on_all_nn_modules_unsafe  # they are: the model is frozen
    return torch.compile(program, dynamic=True, fullgraph=True, options={"guard_filter_fn": same})


def _line(error: Exception) -> str:
    first = (str(error).strip() or "no message").splitlines()[0]
    return f"{type(error).__name__}: {first}"


def _arrays(inputs: Inputs) -> dict[str, np.ndarray]:
    return {name: column.numpy() for name, column in named(inputs).items()}
