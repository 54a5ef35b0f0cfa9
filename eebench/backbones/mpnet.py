"""MPNet: a relative-position bias that all layers share is computed before the first and handed from block to block."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from eebench.api import Features
from eebench.backbones.encoder import TextBackbone

__all__ = ["MPNet"]


class MPNet(TextBackbone):
    """MPNet: dense, tanh and linear on <s>, no pooler. Source: transformers, models/mpnet/modeling_mpnet.py.

    ``Features.shared`` is the bias, (1, heads, N, N): a function of positions alone, the same for every text.
    transformers has this family's attention in plain operators only, so that both sides of a speed-up use those.
    """

    attention: ClassVar[str] = "eager"

    def _positions(self) -> int:
        first = self.net.base_model.embeddings.padding_idx + 1  # positions are counted from there
        return self.net.config.max_position_embeddings - first

    def _embed(self, ids: Tensor, types: Tensor | None) -> Tensor:
        return self.net.base_model.embeddings(input_ids=ids)

    def embed(self, inputs: dict[str, Tensor]) -> Features:  # type: ignore[override]
        """Token and position embeddings, normed, and the bias that every layer's attention adds."""
        features = super().embed(inputs)
        features.shared = self.net.base_model.encoder.compute_position_bias(features.tokens[:1])
        return features

    def block(self, number: int, features: Features) -> Features:
        """One transformer layer; padding is attended to by nobody."""
        tokens, mask, bias = features.tokens, features.mask, features.shared
        if mask is not None:  # as transformers' eager attention takes it: added to the scores
            lowest = torch.finfo(tokens.dtype).min
            mask = torch.zeros_like(mask, dtype=tokens.dtype).masked_fill(~mask, lowest)[:, None, None]
        out = self._blocks[number - 1](tokens, mask, bias)[0]
        return Features(out, features.layout, features.mask, bias)

    def _classify(self, tokens: Tensor) -> Tensor:
        return self.net.classifier(tokens)
