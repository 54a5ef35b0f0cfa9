"""Features of a frozen backbone, computed once and shared by every phase that leaves it as it is."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn

from eebench.api import Backbone, Features, Layout
from eebench.data.base import Data, Split, batches
from eebench.engine.model import EarlyExitModel

__all__ = ["CACHE_BYTES", "FeatureCache", "lengths_of"]

CACHE_BYTES = 2 << 30
"""Memory that cached features may take."""


def lengths_of(backbone: Backbone, split: Split) -> np.ndarray | None:
    """Tokens of each of a split's texts, (N,); None for images, and for a text backbone that does not say."""
    return backbone.lengths(split.inputs)


class FeatureCache:
    """Tokens behind every block for the train split, in memory, one tensor a sample and block (text varies in length).

    Args:
        budget: most bytes to hold; a data set that needs more is simply recomputed every epoch.
    """

    def __init__(self, budget: int = CACHE_BYTES) -> None:
        self.budget = budget
        self._key: tuple[str, int] | None = None
        self._tokens: dict[int, list[Tensor]] = {}
        self._layouts: dict[int, Layout] = {}

    def fits(self, model: EarlyExitModel, data: Data) -> bool:
        """Make sure the cache holds this backbone's features behind this model's exits; False when it may not.

        It may not where training inputs are random (augmentation), or where the features need more than the budget.
        """
        if data.augments:
            return False
        key = (_fingerprint(model.backbone), len(data.train))
        if key != self._key:
            self._key, self._tokens = key, {}
        missing = [block for block in model.blocks if block not in self._tokens]
        return not missing or self._fill(model, data, missing)

    @torch.no_grad()
    def _fill(self, model: EarlyExitModel, data: Data, missing: list[int]) -> bool:
        backbone = model.backbone
        device = next(backbone.parameters()).device
        held = sum(t.numel() * t.element_size() for column in self._tokens.values() for t in column)
        samples, lengths = len(data.train), lengths_of(backbone, data.train)
        fresh: dict[int, list[Tensor]] = {block: [torch.empty(0)] * samples for block in missing}
        size, done = 0, 0.0  # bytes so far, and the share of the whole that they are
        for batch in batches(data.train, backbone.prepare, 64, device=device, lengths=lengths):
            ids = batch.ids.tolist()
            done += len(ids) / samples if lengths is None else float(lengths[ids].sum() / lengths.sum())
            features = backbone.embed(batch.inputs)
            for number in range(1, max(missing) + 1):
                features = backbone.block(number, features)
                if number in fresh:
                    for position, tokens in zip(ids, _samples(features), strict=True):
                        fresh[number][position] = tokens
                        size += tokens.numel() * tokens.element_size()
                    self._layouts[number] = features.layout
            if held + size / done > self.budget:
                return False
        self._tokens |= fresh
        return True

    def rows(self, ids: Tensor, blocks: Iterable[int]) -> dict[int, Features]:
        """Features of the samples ``ids`` behind ``blocks``, padded to the longest of them."""
        chosen = ids.tolist()
        found = {}
        for block in blocks:
            picked = [self._tokens[block][i] for i in chosen]
            layout = self._layouts[block]
            if len({len(tokens) for tokens in picked}) == 1:  # images always, texts of one length as well
                found[block] = Features(torch.stack(picked), layout)
                continue
            lengths = torch.tensor([len(tokens) for tokens in picked], device=picked[0].device)
            padded = nn.utils.rnn.pad_sequence(picked, batch_first=True)
            mask = torch.arange(padded.shape[1], device=padded.device) < lengths[:, None]
            found[block] = Features(padded, layout, mask)
        return found


def _samples(features: Features) -> list[Tensor]:
    if features.mask is None:
        return list(features.tokens.clone().unbind(0))
    return [tokens[keep].clone() for tokens, keep in zip(features.tokens, features.mask, strict=True)]


@torch.no_grad()
def _fingerprint(backbone: nn.Module) -> str:
    """Changes whenever a weight does: cheap sums, in double precision, of every parameter and its square."""
    doubles = (p.double() for p in backbone.parameters())
    return ",".join(f"{float(p.sum()):.17g}:{float(p.square().sum()):.17g}" for p in doubles)
