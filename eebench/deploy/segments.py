"""A model cut at its exits: every stretch of blocks between two of them as a module of named tensors.

The stretch is run by the model's own walk (:meth:`eebench.engine.model.EarlyExitModel.walk_on`), so that no second
implementation could disagree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from eebench.api import ExitOutput, ExitRule, Inputs, Rows
from eebench.deploy.drive import SEEN
from eebench.engine.model import EarlyExitModel
from eebench.engine.packing import pack, unpack
from eebench.errors import UserError

__all__ = ["PIXELS", "Cut", "Part", "cut", "examples", "named", "unnamed"]

PIXELS = "pixels"
"""What an image batch is called."""

IDS = "ids"
SAMPLES, TOKENS = (3, 4), (6, 9)  # of the two examples whose difference says which dimensions vary


def named(inputs: Inputs) -> dict[str, Tensor]:
    """A batch by name: images are ``pixels``; a text's mask is there even where nothing is padded."""
    if isinstance(inputs, Tensor):
        return {PIXELS: inputs}
    masked = {"attention_mask": torch.ones_like(inputs["input_ids"])} if "input_ids" in inputs else {}
    return {**inputs, **{name: column for name, column in masked.items() if name not in inputs}}


def unnamed(held: Mapping[str, Tensor]) -> Inputs:
    """Back from :func:`named`."""
    return held[PIXELS] if PIXELS in held else dict(held)


class Part(nn.Module):
    """Something of a model as a function of named tensors, positional for tracers.

    Args:
        model: whose weights it has.
        takes: names of its arguments, in order.
        gives: names of what it returns, in order.
        fills: what stands for names that it is handed but does not read.
    """

    def __init__(
        self, model: EarlyExitModel, takes: Sequence[str], gives: Sequence[str], fills: Mapping[str, Tensor]
    ) -> None:
        super().__init__()
        self.model = model
        self.takes, self.gives, self.fills = tuple(takes), tuple(gives), dict(fills)

    def made(self, held: dict[str, Tensor]) -> dict[str, Tensor]:
        """Everything it could return, by name."""
        raise NotImplementedError

    def forward(self, *columns: Tensor) -> tuple[Tensor, ...]:
        found = self.made({**self.fills, **dict(zip(self.takes, columns, strict=True))})
        return tuple(found[name] for name in self.gives)

    def like(self, takes: Sequence[str], gives: Sequence[str], fills: Mapping[str, Tensor]) -> Part:
        """The same with other names."""
        raise NotImplementedError


class Segment(Part):
    """Blocks between two exits, the exit behind them, and what the rule observes there."""

    def __init__(self, model: EarlyExitModel, rule: ExitRule, position: int, *names: Any) -> None:
        super().__init__(model, *names)
        self.rule, self.position = rule, position

    def like(self, takes: Sequence[str], gives: Sequence[str], fills: Mapping[str, Tensor]) -> Segment:
        """The same with other names."""
        return Segment(self.model, self.rule, self.position, takes, gives, fills)

    def made(self, held: dict[str, Tensor]) -> dict[str, Tensor]:
        """What the exit says and hands on, as ``Cut`` names it."""
        model, position = self.model, self.position
        carry: Rows = {}
        if position == 0:
            inputs = {name: column for name, column in held.items() if name != IDS}
            features, first = model.backbone.embed(unnamed(inputs)), 1
        else:
            before = model.blocks[position - 1]
            features, carry = unpack(model.backbone.layouts[before - 1], held)
            first = before + 1
        visit = next(model.walk_on(features, first, carry))
        if position == len(model.blocks) - 1:
            return {"logits": visit.logits}
        output = visit.output
        found = pack(visit.features, output.carry)
        found |= {f"aux.{name}": column for name, column in output.aux.items()}
        found |= {SEEN + name: column for name, column in self.rule.observe(output, position, held[IDS]).items()}
        optional = {"signal": output.signal, "logits": output.logits}
        return found | {name: column for name, column in optional.items() if column is not None}


class Answering(Part):
    """What an exit that puts its classifier off does for rows that stop."""

    def __init__(self, model: EarlyExitModel, position: int, *names: Any) -> None:
        super().__init__(model, *names)
        self.position = position

    def like(self, takes: Sequence[str], gives: Sequence[str], fills: Mapping[str, Tensor]) -> Answering:
        """The same with other names."""
        return Answering(self.model, self.position, takes, gives, fills)

    def made(self, held: dict[str, Tensor]) -> dict[str, Tensor]:
        """Logits alone."""
        block = self.model.blocks[self.position]
        features, carry = unpack(self.model.backbone.layouts[block - 1], held)
        aux = {name.removeprefix("aux."): column for name, column in held.items() if name.startswith("aux.")}
        head: Any = self.model.exits[str(block)]
        return {"logits": head.classify(features, ExitOutput(None, held.get("signal"), carry, aux))}


class Whole(Part):
    """The plain model, which stops nowhere."""

    def like(self, takes: Sequence[str], gives: Sequence[str], fills: Mapping[str, Tensor]) -> Whole:
        """The same with other names."""
        return Whole(self.model, takes, gives, fills)

    def made(self, held: dict[str, Tensor]) -> dict[str, Tensor]:
        """The network's own forward."""
        return {"logits": self.model.backbone.plain(unnamed(held))}


@dataclass
class Cut:
    """A part of a model with an example of what it takes: arguments and, beside them, which dimensions vary.

    Attributes:
        part: the module.
        example: its arguments by name, three samples.
        varying: by name, the names of the dimensions that differ from batch to batch, by their place.
        makes: everything that it could return, by name, for the example.
    """

    part: Part
    example: dict[str, Tensor]
    varying: dict[str, dict[int, str]]
    makes: dict[str, Tensor] = field(default_factory=dict)


@torch.no_grad()
def cut(model: EarlyExitModel, rule: ExitRule | None) -> tuple[list[Cut], list[Cut | None]]:
    """Segments in order, and of each the part that classifies rows that stop, where that is one of its own.

    Nothing is left out that nobody reads: that is found out when the parts are traced.

    Args:
        model: in eval mode, on the CPU.
        rule: its rule; None: the whole model is one segment.
    """
    batches = examples(model)
    if rule is None:
        return [_cut(Whole(model, (), (), {}), batches)], [None]
    held = [{**batch, IDS: torch.arange(size)} for batch, size in zip(batches, SAMPLES, strict=True)]
    segments: list[Cut] = []
    answers: list[Cut | None] = []
    last = len(model.blocks) - 1
    for position in range(last + 1):
        found = _cut(Segment(model, rule, position, (), (), {}), held)
        made = [Segment(model, rule, position, (), (), {}).made(one) for one in held]
        segments.append(found)
        stays = {name: held[0][name] for name in ("mask", "shared") if name in held[0]}
        for name, column in stays.items():  # what every block hands on as it got it is not handed over again
            if name in made[0] and torch.equal(made[0][name], column):
                del found.makes[name]
        late = position < last and "logits" not in made[0]
        answers.append(_cut(Answering(model, position, (), (), {}), made) if late else None)
        keep = (IDS, "mask", "shared")
        held = [
            {name: one[name] for name in keep if name in one} | {n: c for n, c in now.items() if _handed(n)}
            for one, now in zip(held, made, strict=True)
        ]
    return segments, answers


def _handed(name: str) -> bool:
    return name in ("tokens", "mask", "shared") or name.startswith("carry.")


def examples(model: EarlyExitModel) -> list[dict[str, Tensor]]:
    """Two batches by name, of different sizes and, for text, lengths."""
    return [_example(model, size, tokens) for size, tokens in zip(SAMPLES, TOKENS, strict=True)]


def _example(model: EarlyExitModel, size: int, tokens: int) -> dict[str, Tensor]:
    """A batch as the backbone takes it, with something in it; texts of several lengths."""
    backbone = model.backbone
    generator = torch.Generator().manual_seed(size)
    if backbone.modality != "text":
        one = backbone.example()
        if not isinstance(one, Tensor):
            raise UserError(f"{type(backbone).__name__} takes images as {type(one).__name__}, which is not exported")
        return {PIXELS: torch.randn(size, *one.shape[1:], generator=generator)}
    most = backbone.max_tokens or tokens
    text = backbone.example(min(tokens, most))
    assert isinstance(text, dict)
    batch = named({name: column.expand(size, -1).contiguous() for name, column in text.items()})
    if "attention_mask" in batch:
        batch["attention_mask"] = batch["attention_mask"].clone()
        batch["attention_mask"][1:, -2:] = 0
    return batch


def _cut(part: Part, held: Sequence[dict[str, Tensor]]) -> Cut:
    """A part on the first example; dimensions that differ in the second vary."""
    example, other = held
    varying: dict[str, dict[int, str]] = {}
    for name, column in example.items():
        pairs = list(zip(column.shape, other[name].shape, strict=True))
        varying[name] = {
            place: "batch" if pair == SAMPLES else "length" for place, pair in enumerate(pairs) if pair[0] != pair[1]
        }
    return Cut(part, example, varying, part.made(dict(example)))
