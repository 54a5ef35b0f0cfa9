"""The BERT family: BERT, ALBERT, RoBERTa (XLM-RoBERTa) and DistilBERT."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from eebench.backbones.encoder import TextBackbone

__all__ = ["Albert", "Bert", "DistilBert", "Roberta"]


class Bert(TextBackbone):
    """BERT: pooler (dense, tanh) on [CLS], dropout, linear. Source: transformers, models/bert/modeling_bert.py."""

    def _classify(self, tokens: Tensor) -> Tensor:
        return self.net.classifier(self.net.dropout(self.net.base_model.pooler(tokens)))


class Roberta(TextBackbone):
    """RoBERTa: dense, tanh and linear on <s>, no pooler. Source: transformers, models/roberta/modeling_roberta.py."""

    def _positions(self) -> int:
        first = self.net.config.pad_token_id + 1  # positions are counted from there
        return self.net.config.max_position_embeddings - first

    def _classify(self, tokens: Tensor) -> Tensor:
        return self.net.classifier(tokens)


class Albert(TextBackbone):
    """ALBERT: blocks share the weights of their group, so a parameter is counted once and its cost at every block.

    A block is one pass through a layer group (``inner_group_num`` layers, one in every released model).
    Source: transformers, models/albert/modeling_albert.py.
    """

    def _layers(self) -> Sequence[nn.Module]:
        config, groups = self.net.config, self.net.base_model.encoder.albert_layer_groups
        return [groups[index] for index in _groups(config.num_hidden_layers, config.num_hidden_groups)]

    def _cut(self, blocks: int) -> None:
        config, encoder = self.net.config, self.net.base_model.encoder
        kept = _groups(config.num_hidden_layers, config.num_hidden_groups)[:blocks]
        if kept != _groups(blocks, kept[-1] + 1):  # transformers shares groups out evenly
            raise ValueError(f"ALBERT's {config.num_hidden_groups} groups cannot be cut behind block {blocks}")
        encoder.albert_layer_groups = encoder.albert_layer_groups[: kept[-1] + 1]
        config.num_hidden_groups = kept[-1] + 1

    def _embed(self, ids: Tensor, types: Tensor | None) -> Tensor:
        """Embeddings, projected from their own width to the blocks'."""
        return self.net.base_model.encoder.embedding_hidden_mapping_in(super()._embed(ids, types))

    def _classify(self, tokens: Tensor) -> Tensor:
        base = self.net.base_model
        return self.net.classifier(self.net.dropout(base.pooler_activation(base.pooler(tokens[:, 0]))))


class DistilBert(TextBackbone):
    """DistilBERT: no segments; dense, ReLU, dropout, linear on [CLS].

    Source: transformers, models/distilbert/modeling_distilbert.py.
    """

    def _layers(self) -> Sequence[nn.Module]:
        return list(self.net.base_model.transformer.layer)

    def _cut(self, blocks: int) -> None:
        transformer = self.net.base_model.transformer
        transformer.layer = transformer.layer[:blocks]

    def _mlp_width(self) -> int:
        return self.net.config.hidden_dim

    def _embed(self, ids: Tensor, types: Tensor | None) -> Tensor:
        return self.net.base_model.embeddings(input_ids=ids)

    def _classify(self, tokens: Tensor) -> Tensor:
        return self.net.classifier(self.net.dropout(self.net.pre_classifier(tokens[:, 0]).relu()))


def _groups(blocks: int, groups: int) -> list[int]:
    """Which group of layers runs each block."""
    return [int(block / (blocks / groups)) for block in range(blocks)]
