"""Tiny backbones and data for conformance checks and tests: seconds on one core, nothing downloaded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from eebench.api import Backbone, Features, Inputs, Layout, Task
from eebench.backbones.depth import check_depth
from eebench.data.base import Data, Split, split_sha256

if TYPE_CHECKING:
    from eebench.backbones.vit import ViT

__all__ = ["BACKBONES", "TinyPyramid", "TinyText", "tiny_backbone", "tiny_data", "tiny_text", "tiny_vit"]

VOCABULARY = 50


class TinyText(Backbone):
    """A post-norm transformer encoder over token ids, the shape of BERT: class token first, padding masked.

    Args:
        outputs: width of the classifier.
        depth: blocks.
        width: channels.
    """

    modality = "text"
    max_tokens = 64

    def __init__(self, outputs: int, depth: int = 6, width: int = 32) -> None:
        super().__init__()
        self._number(Layout(width, prefix=1, grid=None, cls=True), depth)
        self.embedding = nn.Embedding(VOCABULARY, width)
        self.position = nn.Parameter(torch.randn(self.max_tokens, width) * 0.02)
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(width, 4, 4 * width, dropout=0.0, batch_first=True) for _ in range(depth)
        )
        self.classifier = nn.Linear(width, outputs)

    def _number(self, layout: Layout, depth: int) -> None:
        self.layouts = (layout,) * depth
        self.heads = (4,) * depth

    def shorten(self, blocks: int) -> TinyText:
        """The first blocks; the classifier stays."""
        check_depth(self, blocks)
        self.blocks = self.blocks[:blocks]
        self._number(self.layouts[0], blocks)
        return self

    def embed(self, inputs: dict[str, Tensor]) -> Features:  # type: ignore[override]
        """Token ids (B, N), 0 being padding."""
        ids, mask = inputs["input_ids"], inputs["attention_mask"].bool()
        return Features(self.embedding(ids) + self.position[: ids.shape[1]], self.layouts[0], mask)

    def block(self, number: int, features: Features) -> Features:
        """One encoder layer."""
        assert features.mask is not None
        tokens = self.blocks[number - 1](features.tokens, src_key_padding_mask=~features.mask)
        return Features(tokens, features.layout, features.mask)

    def norm(self, features: Features) -> Features:
        """Nothing: post-norm blocks hand on normed tokens."""
        return features

    def classify(self, features: Features) -> Tensor:
        """A linear classifier on the class token."""
        return self.classifier(features.pooled)

    def plain(self, inputs: dict[str, Tensor]) -> Tensor:  # type: ignore[override]
        """All blocks, then the classifier."""
        features = self.embed(inputs)
        for number in range(1, self.depth + 1):
            features = self.block(number, features)
        return self.classify(features)

    def prepare(self, raw: Sequence[Any]) -> dict[str, Tensor]:
        """Lists of token ids → padded ids and mask."""
        ids = nn.utils.rnn.pad_sequence([torch.as_tensor(r) for r in raw], batch_first=True)
        return {"input_ids": ids, "attention_mask": (ids > 0).long()}

    def example(self, tokens: int | None = None) -> dict[str, Tensor]:
        """One text of class tokens."""
        return self.prepare([[1] * (tokens or 8)])

    def lengths(self, raw: Sequence[Any]) -> np.ndarray:
        """Tokens of each sample."""
        return np.array([len(r) for r in raw])


def tiny_vit(depth: int = 4, size: tuple[int, int] = (8, 8), outputs: int = 3, layout: str = "cls") -> ViT:
    """A ViT of 32 channels and 2 heads on one-channel images, patches of 2 by 2, the same weights at every call.

    Args:
        depth: blocks.
        size: rows and columns of an image.
        outputs: width of the classifier.
        layout: its special tokens: ``cls``, ``dist`` (a distillation token as well), ``registers``, or ``mean`` (none).
    """
    from timm.models.deit import VisionTransformerDistilled
    from timm.models.vision_transformer import VisionTransformer

    from eebench.backbones.vit import ViT

    torch.manual_seed(0)
    kind: type = VisionTransformerDistilled if layout == "dist" else VisionTransformer
    special: dict[str, dict[str, Any]] = {
        "registers": {"reg_tokens": 2},
        "mean": {"class_token": False, "global_pool": "avg"},
    }
    net = kind(
        img_size=size,
        patch_size=2,
        in_chans=1,
        num_classes=outputs,
        embed_dim=32,
        depth=depth,
        num_heads=2,
        mlp_ratio=2.0,
        **special.get(layout, {}),
    )
    return ViT(net)


def tiny_text(depth: int = 4, outputs: int = 3, width: int = 16) -> TinyText:
    """A :class:`TinyText`, the same weights at every call."""
    torch.manual_seed(0)
    return TinyText(outputs, depth, width)


class TinyPyramid(Backbone):
    """A Swin-like network: no class token; halfway the grid is halved and the channels doubled. Grid not square."""

    modality = "vision"
    mlp_ratio = 2.0

    def __init__(self, outputs: int = 3) -> None:
        super().__init__()
        torch.manual_seed(0)
        wide = Layout(16, prefix=0, grid=(4, 2), cls=False)
        deep = Layout(32, prefix=0, grid=(2, 1), cls=False)
        self.layouts = (wide, wide, deep, deep)
        self.heads = (1, 1, 2, 2)
        self.patch = nn.Conv2d(1, 16, 2, 2)
        self.merge = nn.Conv2d(16, 32, 2, 2)
        self.mix = nn.ModuleList([nn.Conv2d(a.dim, a.dim, 3, padding=1, groups=a.dim) for a in self.layouts])
        self.head = nn.Linear(32, outputs)

    def embed(self, inputs: Inputs) -> Features:
        """Patches of 2 by 2."""
        assert isinstance(inputs, Tensor)
        return Features(self.patch(inputs).flatten(2).transpose(1, 2), self.layouts[0])

    def block(self, number: int, features: Features) -> Features:
        image = self.merge(features.map) if number == 3 else features.map
        image = image + torch.tanh(self.mix[number - 1](image))
        return Features(image.flatten(2).transpose(1, 2), self.layouts[number - 1])

    def norm(self, features: Features) -> Features:
        return features

    def classify(self, features: Features) -> Tensor:
        return self.head(features.pooled)

    def plain(self, inputs: Inputs) -> Tensor:
        features = self.embed(inputs)
        for number in range(1, self.depth + 1):
            features = self.block(number, features)
        return self.classify(features)


BACKBONES: dict[str, Callable[[int], Backbone]] = {
    "vit": lambda outputs: tiny_vit(outputs=outputs),
    "two prefix tokens": lambda outputs: tiny_vit(outputs=outputs, layout="dist"),
    "registers": lambda outputs: tiny_vit(outputs=outputs, layout="registers"),
    "no class token": lambda outputs: tiny_vit(outputs=outputs, layout="mean"),
    "grid not square": lambda outputs: tiny_vit(size=(8, 4), outputs=outputs),
    "pyramid": lambda outputs: TinyPyramid(outputs=outputs),
    "text": lambda outputs: tiny_text(outputs=outputs),
}
"""Four blocks and everything that a method may meet, by what is special about it: outputs → backbone."""


def tiny_backbone(kind: str, outputs: int, depth: int = 6) -> Backbone:
    """A fresh tiny network.

    Args:
        kind: ``vit`` (a grid that is not square: 4 by 6), ``deit`` (two prefix tokens), ``swin`` (width and grid
            change), ``resnet`` or ``text``.
        outputs: width of the classifier.
        depth: blocks, for vit, deit and text.
    """
    if kind == "text":
        return TinyText(outputs, depth)
    sizes: dict[str, Any] = {"img_size": (8, 12), "patch_size": 2, "in_chans": 1, "num_classes": outputs}
    if kind in ("vit", "deit"):
        from timm.models.deit import VisionTransformerDistilled
        from timm.models.vision_transformer import VisionTransformer

        from eebench.backbones.vit import ViT

        make = VisionTransformerDistilled if kind == "deit" else VisionTransformer
        return ViT(make(embed_dim=32, depth=depth, num_heads=4, **sizes))
    if kind == "swin":
        from timm.models.swin_transformer import SwinTransformer

        from eebench.backbones.swin import Swin

        net = SwinTransformer(embed_dim=16, depths=(2, 4), num_heads=(2, 4), window_size=2, **sizes)
        return Swin(net)
    if kind == "resnet":
        from timm.models.resnet import BasicBlock
        from timm.models.resnet import ResNet as TimmResNet

        from eebench.backbones.resnet import ResNet, small_stem

        block: Any = BasicBlock  # timm declares an instance where it takes the class
        network = TimmResNet(block, (1, 2, 1, 2), channels=(16, 16, 32, 32), in_chans=1, num_classes=outputs)
        small_stem(network)
        return ResNet(network, 16, [])
    raise ValueError(f"no tiny backbone of kind {kind!r}")


def tiny_data(kind: str, task: Task, samples: int = 64) -> Data:
    """Random inputs of a tiny backbone's shape with labels that can be learnt from them: three equal splits."""
    rng = np.random.default_rng(0)
    if kind == "text":
        inputs: list[Any] = [
            torch.as_tensor(rng.integers(2, VOCABULARY, rng.integers(4, 12))) for _ in range(3 * samples)
        ]
        for row in inputs:
            row[0] = 1  # the class token
        values = np.array([float(row[1:].float().mean()) for row in inputs])
    else:
        shape = (1, 16, 16) if kind == "resnet" else (1, 8, 12)
        images = rng.normal(size=(3 * samples, *shape)).astype(np.float32)
        values = images[:, 0, :4].mean((1, 2))
        inputs = list(torch.from_numpy(images))
    if task.kind == "regression":
        targets = values.astype(np.float32)
    else:
        edges = np.quantile(values, np.linspace(0, 1, task.classes + 1)[1:-1])
        targets = np.searchsorted(edges, values).astype(np.int64)
    train, val, test = (
        Split(inputs[i : i + samples], targets[i : i + samples]) for i in range(0, 3 * samples, samples)
    )
    modality = "text" if kind == "text" else "vision"
    return Data(f"tiny-{kind}", modality, task, train, val, test, split_sha256(range(3 * samples)))
