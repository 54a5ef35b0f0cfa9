"""The BERT family, block by block: BERT, ALBERT, RoBERTa (XLM-RoBERTa) and DistilBERT from transformers.

Importing this module imports no transformers; ``create_text`` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor, nn

from eebench.api import Backbone, Features, Layout
from eebench.backbones.hub import load

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["FAMILIES", "Albert", "Bert", "DistilBert", "Roberta", "TextBackbone", "create_text"]

Text = str | tuple[str, str]


class TextBackbone(Backbone):
    """Adapter over a transformers sequence classifier with post-norm blocks and a class token first.

    A batch is a dictionary of (B, N) int64 tensors: ``input_ids``, ``token_type_ids`` where the tokenizer makes them,
    and ``attention_mask`` (1 for a real token) only where something is padded, so that a single text takes the
    unmasked attention kernels in the walk and in the plain forward alike.

    Args:
        net: the family's ``…ForSequenceClassification``.
        tokenizer: its tokenizer.
        max_tokens: truncate to this many tokens, special ones included; None for as many as the model takes.
        notes: what a log should say about where the weights came from.
    """

    modality = "text"

    def __init__(
        self,
        net: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        max_tokens: int | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        super().__init__()
        config = net.config
        self.net: Any = net  # what its parts are called is the family's affair
        self.notes = tuple(notes)
        self.layouts = (Layout(dim=config.hidden_size, prefix=1, cls=True),) * config.num_hidden_layers
        self.heads = (config.num_attention_heads,) * config.num_hidden_layers
        self.mlp_ratio = self._mlp_width() / config.hidden_size
        self.max_tokens = min(self._positions(), tokenizer.model_max_length, max_tokens or self._positions())
        self._tokenizer = tokenizer
        self._blocks = tuple(self._layers())  # in a tuple: not registered twice, and quick to index

    def _layers(self) -> Sequence[nn.Module]:
        """The module that runs each block: ``(tokens, attention mask) → tokens``."""
        return list(self.net.base_model.encoder.layer)

    def _positions(self) -> int:
        """The most tokens there are position embeddings for."""
        return self.net.config.max_position_embeddings

    def _mlp_width(self) -> int:
        return self.net.config.intermediate_size

    def _embed(self, ids: Tensor, types: Tensor | None) -> Tensor:
        return self.net.base_model.embeddings(input_ids=ids, token_type_ids=types)

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

    def plain(self, inputs: dict[str, Tensor]) -> Tensor:  # type: ignore[override]
        """The transformers model's own forward."""
        return self.net(**inputs).logits

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


class Bert(TextBackbone):
    """BERT: pooler (dense, tanh) on [CLS], dropout, linear. Source: transformers, models/bert/modeling_bert.py."""

    def classify(self, features: Features) -> Tensor:
        """The pooler and the classifier."""
        return self.net.classifier(self.net.dropout(self.net.base_model.pooler(features.tokens)))


class Roberta(TextBackbone):
    """RoBERTa: dense, tanh and linear on <s>, no pooler. Source: transformers, models/roberta/modeling_roberta.py."""

    def _positions(self) -> int:
        first = self.net.config.pad_token_id + 1  # positions are counted from there
        return self.net.config.max_position_embeddings - first

    def classify(self, features: Features) -> Tensor:
        """The classification head."""
        return self.net.classifier(features.tokens)


class Albert(TextBackbone):
    """ALBERT: blocks share the weights of their group, so a parameter is counted once and its cost at every block.

    A block is one pass through a layer group (``inner_group_num`` layers, one in every released model).
    Source: transformers, models/albert/modeling_albert.py.
    """

    def _layers(self) -> Sequence[nn.Module]:
        config, groups = self.net.config, self.net.base_model.encoder.albert_layer_groups
        blocks_a_group = config.num_hidden_layers / config.num_hidden_groups
        return [groups[int(block / blocks_a_group)] for block in range(config.num_hidden_layers)]

    def _embed(self, ids: Tensor, types: Tensor | None) -> Tensor:
        """Embeddings, projected from their own width to the blocks'."""
        return self.net.base_model.encoder.embedding_hidden_mapping_in(super()._embed(ids, types))

    def classify(self, features: Features) -> Tensor:
        """The pooler and the classifier."""
        base = self.net.base_model
        return self.net.classifier(self.net.dropout(base.pooler_activation(base.pooler(features.tokens[:, 0]))))


class DistilBert(TextBackbone):
    """DistilBERT: no segments; dense, ReLU, dropout, linear on [CLS].

    Source: transformers, models/distilbert/modeling_distilbert.py.
    """

    def _layers(self) -> Sequence[nn.Module]:
        return list(self.net.base_model.transformer.layer)

    def _mlp_width(self) -> int:
        return self.net.config.hidden_dim

    def _embed(self, ids: Tensor, types: Tensor | None) -> Tensor:
        return self.net.base_model.embeddings(input_ids=ids)

    def classify(self, features: Features) -> Tensor:
        """The pre-classifier and the classifier."""
        return self.net.classifier(self.net.dropout(self.net.pre_classifier(features.tokens[:, 0]).relu()))


FAMILIES: dict[str, type[TextBackbone]] = {
    "albert": Albert,
    "bert": Bert,
    "distilbert": DistilBert,
    "roberta": Roberta,
    "xlm-roberta": Roberta,
}
"""Adapters by the ``model_type`` of a transformers configuration."""


def create_text(name: str, *, outputs: int, max_tokens: int | None = None, allow_random: bool = False) -> TextBackbone:
    """Build a text backbone: the encoder's weights as stored, the task classifier fresh (global torch seed).

    Args:
        name: a local folder as ``save_pretrained`` writes it, or a model's name on the Hugging Face hub.
        outputs: width of the classifier; 1 for regression.
        max_tokens: truncate texts to this many tokens; None for as many as the model takes.
        allow_random: let a folder without weights stand for a randomly initialised model.

    Raises:
        UserError: transformers is not installed; no such folder or model; the hub cannot be reached; a family without
            an adapter; files that are missing, broken or do not fit each other.
    """
    loaded = load(name, outputs=outputs, families=FAMILIES, allow_random=allow_random)
    backbone = FAMILIES[loaded.net.config.model_type](loaded.net, loaded.tokenizer, max_tokens, loaded.notes)
    backbone.own_weights = loaded.weights
    return backbone


def _columns(raw: Sequence[Text]) -> list[Any]:
    """Texts → one list; pairs → a list of firsts and a list of seconds."""
    if isinstance(raw[0], str):
        return [list(raw)]
    first, second = zip(*raw, strict=True)
    return [list(first), list(second)]
