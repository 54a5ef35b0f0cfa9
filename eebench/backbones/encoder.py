"""What every text encoder from transformers has in common: tokens in, numbered blocks, one of two ways to pool."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from torch import Tensor, nn

from eebench.api import Backbone, Features, Layout
from eebench.backbones.depth import check_depth
from eebench.backbones.pooling import Pool
from eebench.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["Text", "TextBackbone"]

Text = str | tuple[str, str]


class TextBackbone(Backbone):
    """Adapter over a transformers sequence classifier with post-norm blocks and a class token first.

    A batch is a dictionary of (B, N) int64 tensors: ``input_ids``, ``token_type_ids`` where the tokenizer makes them,
    and ``attention_mask`` (1 for a real token) only where something is padded, so that a single text takes the
    unmasked attention kernels in the walk and in the plain forward alike.

    Pooled by class token, the classifier is the family's own. Pooled by mean, it is dropout and one linear layer on
    the mean of the last block's tokens; the family's own classifier and pooler, which read the class token, are gone.

    Args:
        net: the family's ``…ForSequenceClassification``.
        tokenizer: its tokenizer.
        max_tokens: truncate to this many tokens, special ones included; None for as many as the model takes.
        notes: what a log should say about where the weights came from.
        pool: what exits and classifier read.

    Raises:
        UserError: ``max_tokens`` is more than the model takes, or leaves no room for a text.
    """

    modality = "text"
    max_tokens: int
    attention: ClassVar[str] = "sdpa"  # which of transformers' attention implementations the family is run with

    def __init__(
        self,
        net: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        max_tokens: int | None = None,
        notes: Sequence[str] = (),
        pool: Pool = "cls",
    ) -> None:
        super().__init__()
        config = net.config
        self.pool = pool
        self.net: Any = net  # what its parts are called is the family's affair
        self.mean_head: nn.Module | None = None
        if pool == "mean":
            self.net, self.mean_head = _mean_pooled(net)
        self.notes = tuple(notes)
        self.family = str(config.model_type)
        self.mlp_ratio = self._mlp_width() / config.hidden_size
        self._tokenizer = tokenizer
        self.max_tokens = self._most(max_tokens)
        self._number()

    def describe(self, folder: Path) -> None:
        """Write what builds this encoder but for its weights: configuration and tokenizer, as ``save_pretrained`` does.

        Args:
            folder: made if need be; ``create_text(folder, allow_random=True)`` reads it.
        """
        self.net.config.save_pretrained(folder)
        self._tokenizer.save_pretrained(folder)

    def _number(self) -> None:
        """Number the blocks there are."""
        config = self.net.config
        depth = config.num_hidden_layers
        layout = Layout(dim=config.hidden_size, prefix=1, cls=True, pool=self.pool)
        self.layouts = (layout,) * depth
        self.heads = (config.num_attention_heads,) * depth
        self._blocks = tuple(self._layers())  # in a tuple: not registered twice, and quick to index

    def _most(self, wanted: int | None) -> int:
        """Tokens a text may have."""
        takes = min(self._positions(), self._tokenizer.model_max_length)
        special = self._tokenizer.num_special_tokens_to_add(pair=True)
        if wanted is not None and wanted > takes:
            raise UserError(f"--max-length: {wanted} is more than the {takes} tokens that the backbone takes")
        if wanted is not None and wanted <= special:
            raise UserError(f"--max-length: {wanted} leaves no room for a text beside {special} special tokens")
        return wanted or takes

    def _layers(self) -> Sequence[nn.Module]:
        """The module that runs each block: ``(tokens, attention mask) → tokens``."""
        return list(self.net.base_model.encoder.layer)

    def _cut(self, blocks: int) -> None:
        """Drop the layers behind the first ``blocks``; the configuration follows."""
        encoder = self.net.base_model.encoder
        encoder.layer = encoder.layer[:blocks]

    def _positions(self) -> int:
        """The most tokens there are position embeddings for."""
        return self.net.config.max_position_embeddings

    def _mlp_width(self) -> int:
        return self.net.config.intermediate_size

    def _embed(self, ids: Tensor, types: Tensor | None) -> Tensor:
        return self.net.base_model.embeddings(input_ids=ids, token_type_ids=types)

    def _classify(self, tokens: Tensor) -> Tensor:
        """The family's own classifier: (B, N, D) → (B, K)."""
        raise NotImplementedError

    def embed(self, inputs: dict[str, Tensor]) -> Features:  # type: ignore[override]
        """Token, segment and position embeddings, normed."""
        mask = inputs.get("attention_mask")
        tokens = self._embed(inputs["input_ids"], inputs.get("token_type_ids"))
        return Features(tokens, self.layouts[0], None if mask is None else mask.bool())

    def block(self, number: int, features: Features) -> Features:
        """One transformer layer; padding is attended to by nobody."""
        mask = None if features.mask is None else features.mask[:, None, None]
        return Features(self._blocks[number - 1](features.tokens, mask), features.layout, features.mask)

    def norm(self, features: Features) -> Features:
        """Nothing: post-norm blocks end in their LayerNorm."""
        return features

    def classify(self, features: Features) -> Tensor:
        """The family's own classifier on the class token, or dropout and a linear layer on the mean."""
        return self._classify(features.tokens) if self.mean_head is None else self.mean_head(features.pooled)

    def plain(self, inputs: dict[str, Tensor]) -> Tensor:  # type: ignore[override]
        """The transformers model's own forward; pooled by mean, its encoder's, then the mean and the classifier."""
        if self.mean_head is None:
            return self.net(**inputs).logits
        tokens, mask = self.net(**inputs).last_hidden_state, inputs.get("attention_mask")
        return self.mean_head(Features(tokens, self.layouts[-1], None if mask is None else mask.bool()).pooled)

    def shorten(self, blocks: int) -> TextBackbone:
        """The first ``blocks`` layers, embeddings and classifier as they are."""
        check_depth(self, blocks)
        self._cut(blocks)
        self.net.config.num_hidden_layers = blocks
        self._number()
        return self

    def prepare(self, raw: Sequence[Text]) -> dict[str, Tensor]:
        """Tokenize texts or pairs of texts, truncated to ``max_tokens`` and padded to the longest of the batch."""
        batch = self._tokenizer(
            *_columns(raw), padding=True, truncation=True, max_length=self.max_tokens, return_tensors="pt"
        )
        inputs = {name: batch[name] for name in ("input_ids", "token_type_ids", "attention_mask") if name in batch}
        if inputs["attention_mask"].all():
            del inputs["attention_mask"]
        if getattr(self.net.config, "type_vocab_size", 0) < 2:  # no segments to tell apart
            inputs.pop("token_type_ids", None)
        return inputs

    def tokenizer_json(self) -> tuple[str, dict[str, Any]]:
        """The tokenizer as the ``tokenizers`` library reads it, and padding's ``id``, ``type_id`` and ``token``.

        Raises:
            UserError: a tokenizer that this library does not have.
        """
        tokenizer = self._tokenizer
        if getattr(tokenizer, "backend_tokenizer", None) is None:
            raise UserError(f"{type(tokenizer).__name__} has no tokenizer.json, which a deployed model needs")
        pads = {"id": tokenizer.pad_token_id, "type_id": tokenizer.pad_token_type_id, "token": tokenizer.pad_token}
        return tokenizer.backend_tokenizer.to_str(), pads

    def example(self, tokens: int | None = None) -> dict[str, Tensor]:
        """One text of so many tokens, as many as it takes when not given: the first special one, over and over."""
        length = tokens or self.max_tokens
        return {name: column[:1, :1].expand(1, length).contiguous() for name, column in self.prepare(["a"]).items()}

    def lengths(self, raw: Sequence[Text]) -> np.ndarray:
        """Tokens of each text after truncation, special ones included and padding not: (N,) int64."""
        return np.minimum(self._untruncated(raw), self.max_tokens)

    def truncated(self, raw: Sequence[Text]) -> int:
        """How many of these texts lose tokens to ``max_tokens``."""
        return int((self._untruncated(raw) > self.max_tokens).sum())

    def _untruncated(self, raw: Sequence[Text]) -> np.ndarray:
        if not len(raw):
            return np.zeros(0, np.int64)
        ids = self._tokenizer(*_columns(raw), verbose=False)["input_ids"]
        return np.array([len(row) for row in ids], np.int64)


def _mean_pooled(net: Any) -> tuple[Any, nn.Module]:
    """The encoder without its pooler, and a fresh classifier of the mean, with the dropout of the family's own."""
    encoder, config = net.base_model, net.config
    own = [module for part in net.children() if part is not encoder for module in part.modules()]
    dropout = next((module.p for module in own if isinstance(module, nn.Dropout)), 0.0)
    for name in ("pooler", "pooler_activation"):
        if getattr(encoder, name, None) is not None:
            setattr(encoder, name, None)
    linear = nn.Linear(config.hidden_size, config.num_labels)
    nn.init.normal_(linear.weight, std=config.initializer_range)
    nn.init.zeros_(linear.bias)
    return encoder, nn.Sequential(nn.Dropout(dropout), linear)


def _columns(raw: Sequence[Text]) -> list[Any]:
    """Texts → one list; pairs → a list of firsts and a list of seconds."""
    if isinstance(raw[0], str):
        return [list(raw)]
    first, second = zip(*raw, strict=True)
    return [list(first), list(second)]
