"""The backbone contract: any network shown as embed → numbered blocks → its own final classifier."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from eebench.api import Features, Layout

__all__ = ["Backbone", "Inputs"]

Inputs = Tensor | dict[str, Tensor]
"""A batch as the backbone takes it: images (B, C, H, W), or a tokenizer's dictionary of (B, N) tensors."""


class Backbone(nn.Module, ABC):
    """A network, block by block. Running every block and ``classify`` equals the original model exactly."""

    modality: ClassVar[str]  # "vision" | "text"
    layouts: tuple[Layout, ...]  # layouts[k - 1]: the tokens behind block k
    heads: tuple[int, ...]  # attention heads of each block (1 where a block has none)
    mlp_ratio: float = 4.0
    own_weights: str | None = (
        None  # fingerprint of pre-trained weights the model comes with (text); None: ``--weights``
    )
    notes: tuple[str, ...] = ()  # what was adapted to fit the run, said in its log

    @property
    def depth(self) -> int:
        """How many blocks there are."""
        return len(self.layouts)

    @abstractmethod
    def embed(self, inputs: Inputs) -> Features:
        """Everything before block 1."""

    @abstractmethod
    def block(self, number: int, features: Features) -> Features:
        """Run block ``number`` (from 1); what belongs between two blocks (patch merging) comes first."""

    @abstractmethod
    def classify(self, features: Features) -> Tensor:
        """The network's own final norm and classifier on the last block's features: logits (B, K)."""

    @abstractmethod
    def norm(self, features: Features) -> Features:
        """The network's own final norm on the tokens. Only the last block's width fits (``layouts[-1].dim``)."""

    @abstractmethod
    def plain(self, inputs: Inputs) -> Tensor:
        """The original model's own forward: logits (B, K). What the plain-backbone row measures."""

    def prepare(self, raw: Sequence[Any]) -> Inputs:
        """Samples as a data set yields them → one batch. Images are stacked; text is tokenized and padded."""
        raise NotImplementedError
