"""One walk through blocks and exits, driven three ways.

The walk stops behind every exit and asks whoever drives it which rows go on:

- ``trace``: everyone goes on to the end (training, replay);
- ``forced``: everyone stops at one exit (MACs and latency per exit), ``static`` without asking anybody on the way;
- ``dynamic``: the exit rule decides, and the rows that stop leave the batch.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from eebench.api import (
    Backbone,
    ChainedHead,
    ExitHead,
    ExitOutput,
    ExitRule,
    Features,
    Inputs,
    Method,
    Rows,
    Task,
    Visit,
)
from eebench.decisions import Underway
from eebench.parts import Borrowed

__all__ = ["BackboneExit", "Decision", "EarlyExitModel", "assemble", "fixed_answer"]


class BackboneExit(ExitHead):
    """The backbone's own final norm and classifier as the last exit."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.borrowed = Borrowed(backbone)

    def answer(self, features: Features) -> Tensor:
        """The backbone's own logits."""
        return self.borrowed.backbone.classify(features)


@dataclass(slots=True)
class Decision:
    """What dynamic inference returns, both in the order of the inputs."""

    logits: Tensor  # (B, K), on the model's device
    exit: Tensor  # (B,) int64, the exit where each sample stopped, from 0; on the CPU, where it was decided
    blocks: tuple[int, ...]  # block number of each exit

    @property
    def block(self) -> Tensor:
        """(B,) int64, the number of the block behind which each sample stopped, from 1."""
        return torch.tensor(self.blocks)[self.exit]


class EarlyExitModel(nn.Module):
    """A backbone and its exits.

    Args:
        backbone: the adapter.
        exits: heads by block number; without one behind the last block the backbone's own classifier is the last exit.

    Raises:
        ValueError: an exit behind a block that does not exist, one that is none, or one without an answer.
    """

    def __init__(self, backbone: Backbone, exits: dict[int, ExitHead]) -> None:
        super().__init__()
        outside = [block for block in exits if not 1 <= block <= backbone.depth]
        if outside:
            raise ValueError(f"exits behind blocks {outside}, but the backbone has blocks 1 to {backbone.depth}")
        for block, head in exits.items():
            if not isinstance(head, ExitHead):
                raise ValueError(f"behind block {block} there is a {type(head).__name__}, no ExitHead")
            asked = ChainedHead.answer_after if isinstance(head, ChainedHead) else ExitHead.answer
            if getattr(type(head), asked.__name__) is asked:
                raise ValueError(f"{type(head).__name__} defines no {asked.__name__}(), which fixed depth runs")
        heads = {backbone.depth: BackboneExit(backbone), **exits}
        self.blocks = tuple(sorted(heads))  # block numbers of the exits, the last exit's included
        self.backbone = backbone
        self.exits = nn.ModuleDict({str(block): heads[block] for block in self.blocks})
        self._heads = tuple(heads.get(block) for block in range(backbone.depth + 1))

    @property
    def own_last_exit(self) -> bool:
        """True when the method replaced the backbone's classifier with an exit of its own."""
        return not isinstance(self.exits[str(self.backbone.depth)], BackboneExit)

    def walk(self, inputs: Inputs) -> Generator[Visit, Tensor | None, None]:
        """Yield a visit behind every exit; what is sent back, (n,) int64 rows or None for all, goes on."""
        return self.walk_on(self.backbone.embed(inputs), 1)

    def walk_on(
        self, features: Features, block: int, carry: Rows | None = None
    ) -> Generator[Visit, Tensor | None, None]:
        """The walk from given features, ``block`` being the next one to run.

        Args:
            features: what the block before it handed on.
            block: its number.
            carry: what the exit before it handed on.
        """
        run, heads = self.backbone.block, self._heads
        carry = carry or {}
        for number in range(block, len(heads)):
            features = run(number, features)
            head = heads[number]
            if head is None:
                continue
            output = head(features, carry)
            keep = yield Visit(number, head, features, output)
            carry = output.carry
            if keep is not None:
                features = features.rows(keep)
                carry = _rows(carry, keep)

    def visit(self, behind: Mapping[int, Features]) -> list[Visit]:
        """Visit every exit on features computed before, by block number: what a frozen backbone's training reuses."""
        carry: Rows = {}
        visits = []
        for block in self.blocks:
            head = self._heads[block]
            assert head is not None
            output = head(behind[block], carry)
            carry = output.carry
            visits.append(Visit(block, head, behind[block], output))
        return visits

    def trace(self, inputs: Inputs) -> list[Visit]:
        """Visit every exit with every sample."""
        return list(self.walk(inputs))

    def forced(self, inputs: Inputs, block: int) -> Tensor:
        """Everyone stops behind ``block``, every exit up to it having been asked: logits (B, K)."""
        for visit in self.walk(inputs):
            if visit.block == block:
                return visit.logits
        raise self._no_exit(block)

    def static(self, inputs: Inputs, block: int) -> Tensor:
        """Fixed depth: blocks up to ``block`` and that exit's answer, logits (B, K).

        Behind a :class:`ChainedHead` the exits before it hand on what they have; nothing is run that only decides.
        """
        return fixed_answer(*self.reach(inputs, block))

    def reach(self, inputs: Inputs, block: int) -> tuple[ExitHead, Features, Rows]:
        """The exit behind ``block`` and what fixed depth hands it: its features, and for a chained head the carry."""
        head = self._heads[block]
        if head is None:
            raise self._no_exit(block)
        chained = isinstance(head, ChainedHead)
        features = self.backbone.embed(inputs)
        carry: Rows = {}
        for number in range(1, block + 1):
            features = self.backbone.block(number, features)
            before = self._heads[number] if chained and number < block else None
            if before is not None:
                carry = before.hand_on(features, carry)
        return head, features, carry

    def _no_exit(self, block: int) -> ValueError:
        return ValueError(f"there is no exit behind block {block}; exits are behind {list(self.blocks)}")

    def dynamic(
        self, inputs: Inputs, rule: ExitRule, knob: float, ids: Tensor | None = None, *, wait: bool = False
    ) -> Decision:
        """Stop where the rule says so; finished rows leave the batch and later blocks run on the rest.

        What the rule observed comes to the host, the one synchronisation of a decision on a GPU, and its ``step`` runs
        there on numpy arrays, the very code and numbers of a replay.

        Args:
            inputs: one batch.
            rule: the exit rule.
            knob: its knob.
            ids: (B,) int64 names of the samples; the batch's positions when not given.
            wait: keep finished rows in the batch until its last one is done ("the whole batch waits").
        """
        walk = self.walk(inputs)
        visit = next(walk)
        size, device = len(visit.features.tokens), visit.features.tokens.device
        names = torch.arange(size, device=device) if ids is None else ids
        if size == 1:
            return self._single(walk, visit, rule, knob, names)
        underway = Underway(size, rule.step, knob, wait=wait)
        answers: list[Tensor] = []
        last = len(self.blocks) - 1
        for position in range(last + 1):
            seen = _on_host(rule.observe(visit.output, position, names)) if position < last else None
            stop = underway.decide(position, seen)
            if stop.any():
                answers.append(_answer(visit, stop))
                if underway.done:
                    break
            keep = None
            if (going := underway.leave(stop)) is not None:
                keep = _index(going, device)
                names = names.index_select(0, keep)
            visit = walk.send(keep)
        in_order = _index(underway.order, device)
        return Decision(torch.cat(answers).index_select(0, in_order), torch.from_numpy(underway.exits), self.blocks)

    def _single(
        self, walk: Generator[Visit, Tensor | None, None], visit: Visit, rule: ExitRule, knob: float, names: Tensor
    ) -> Decision:
        """One sample: nothing to gather, so the loop is nothing but the decisions.

        Between two blocks of a large model the caches hold none of this code, so that each operation saved counts.
        """
        observe, step, go_on = rule.observe, rule.step, walk.send
        state: Rows = {}
        last = len(self.blocks) - 1
        position = 0
        while position < last:
            seen = {name: values.numpy(force=True) for name, values in observe(visit.output, position, names).items()}
            stop, state = step(state, seen, knob)
            if stop:  # one row, so an array of one
                break
            position += 1
            visit = go_on(None)
        return Decision(visit.logits, torch.full((1,), position), self.blocks)


def assemble(method: Method, backbone: Backbone, task: Task) -> EarlyExitModel:
    """The method's exits on a backbone, as inference runs them and training trains them.

    Raises:
        ValueError: the method changed the backbone while it built its exits, or as :class:`EarlyExitModel`.
    """
    before = _anatomy(backbone)
    exits = method.build(backbone, task)
    after = _anatomy(backbone)
    changed = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    if changed:
        raise ValueError(
            f"build() changed the backbone's '{changed[0]}': an exit hangs behind a block, and an adapter inside one or"
            " a layer that is skipped would change the plain backbone and every other exit, and be charged wrongly"
        )
    return EarlyExitModel(backbone, dict(exits))


def _anatomy(backbone: Backbone) -> dict[str, tuple[Any, ...]]:
    """Everything in the backbone that building exits could change: its modules, what hooks onto them, its weights."""
    found: dict[str, tuple[Any, ...]] = {}
    for name, module in backbone.named_modules():
        own = {key: value for key, value in vars(module).items() if callable(value)}
        found[name] = (id(module), type(module), own, len(module._forward_hooks), len(module._forward_pre_hooks))
    for name, tensor in (*backbone.named_parameters(), *backbone.named_buffers()):
        found[f"{name} "] = (id(tensor), None if tensor.is_inference() else tensor._version)
    return found


def fixed_answer(head: ExitHead, features: Features, carry: Rows) -> Tensor:
    """Logits (B, K) of an exit at fixed depth."""
    return head.answer_after(features, carry) if isinstance(head, ChainedHead) else head.answer(features)


def _on_host(seen: dict[str, Tensor]) -> Rows:
    """As numpy arrays, which on the CPU share the tensors' memory."""
    return {name: values.numpy(force=True) for name, values in seen.items()}


def _index(rows: np.ndarray, device: torch.device) -> Tensor:
    """Row numbers as a tensor on the device; the copy there waits for nothing."""
    return torch.from_numpy(rows).to(device, non_blocking=True)


def _answer(visit: Visit, stop: np.ndarray) -> Tensor:
    """Logits of the rows that stop; exits that classify late do so for just these."""
    if stop.all():
        return visit.logits
    rows = _index(np.flatnonzero(stop), visit.features.tokens.device)
    output = visit.output
    if output.logits is not None:
        return output.logits.index_select(0, rows)
    signal = None if output.signal is None else output.signal.index_select(0, rows)
    some = ExitOutput(None, signal, _rows(output.carry, rows), _rows(output.aux, rows))
    return visit.head.classify(visit.features.rows(rows), some)


def _rows(table: Rows, index: Tensor) -> Rows:
    return {name: column.index_select(0, index) for name, column in table.items()}
