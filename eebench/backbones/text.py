"""Text encoders from transformers, by folder or hub name.

Importing this module imports no transformers; ``create_text`` does.
"""

from __future__ import annotations

from eebench.backbones.bert import Albert, Bert, DistilBert, Roberta
from eebench.backbones.encoder import TextBackbone
from eebench.backbones.hub import load
from eebench.backbones.mpnet import MPNet

__all__ = ["FAMILIES", "TextBackbone", "create_text"]

FAMILIES: dict[str, type[TextBackbone]] = {
    "albert": Albert,
    "bert": Bert,
    "distilbert": DistilBert,
    "mpnet": MPNet,
    "roberta": Roberta,
    "xlm-roberta": Roberta,
}
"""Adapters by the ``model_type`` of a transformers configuration."""

WHAT = {"cls": "the class token", "mean": "the mean of all tokens"}


def create_text(
    name: str,
    *,
    outputs: int,
    max_tokens: int | None = None,
    pool: str = "auto",
    allow_random: bool = False,
) -> TextBackbone:
    """Build a text backbone: the encoder's weights as stored, the task classifier fresh (global torch seed).

    Args:
        name: a local folder as ``save_pretrained`` writes it, or a model's name on the Hugging Face hub.
        outputs: width of the classifier; 1 for regression.
        max_tokens: truncate texts to this many tokens; None for as many as the model takes.
        pool: what exits and classifier read; ``auto`` is what the checkpoint's sentence-transformers files say, else
            the class token.
        allow_random: let a folder without weights stand for a randomly initialised model.

    Raises:
        UserError: transformers is not installed; no such folder or model; the hub cannot be reached; a family without
            an adapter; files that are missing, broken or do not fit each other; a checkpoint that pools otherwise.
    """
    attention = {family: adapter.attention for family, adapter in FAMILIES.items()}
    loaded = load(name, outputs=outputs, attention=attention, stored_pool=pool == "auto", allow_random=allow_random)
    chosen, why = ("cls", "the family's own")
    if pool != "auto":
        chosen, why = pool, "--pool"
    elif loaded.pool is not None:
        chosen, why = loaded.pool
    notes = list(loaded.notes)
    if loaded.weights is not None:
        pooler = " and pooler (the checkpoint has none)" if loaded.new_pooler and chosen == "cls" else ""
        notes.append(f"new: classifier{pooler}")
    notes.append(f"pooling: {WHAT[chosen]} ({why})")
    adapter = FAMILIES[loaded.net.config.model_type]
    backbone = adapter(loaded.net, loaded.tokenizer, max_tokens, notes, "mean" if chosen == "mean" else "cls")
    backbone.own_weights = loaded.weights
    return backbone
