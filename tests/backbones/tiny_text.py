"""Tiny random checkpoints of every text family, as ``save_pretrained`` writes real ones."""

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoConfig, AutoModel, PreTrainedTokenizerFast

FAMILIES = ("bert", "albert", "roberta", "xlm-roberta", "distilbert", "mpnet")
BYTES = ("roberta", "xlm-roberta", "mpnet")  # <s>, byte-level BPE, positions counted from behind the padding's
TEXTS = ["the fox", "how far is it from here to the sea and back", "who wrote it", "the lazy dog jumps over ships"]
PAIRS = [("the fox", "who wrote it"), ("how far is it", "from here to the sea and back"), ("a book", "back")]
LONG = "how far is it from here to the sea and back " * 10
CORPUS = [*TEXTS, "the quick brown fox jumps over the lazy dog", "who wrote the first book about ships and a sea"]
TOKENS = 48  # the most a model takes


def write(folder: Path, family: str, *, weights: bool = True, config_only: bool = False, **changes: Any) -> Path:
    """A checkpoint of the encoder alone: weights (random, seed 0), config.json and tokenizer."""
    words = tokenizer(family)
    sizes = {
        "vocab_size": len(words),
        "hidden_size": 32,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "max_position_embeddings": TOKENS + 2 if family in BYTES else TOKENS,  # two of them stand for padding
        "hidden_dim" if family == "distilbert" else "intermediate_size": 64,
        "initializer_range": 0.3,  # far from the identity, so that a wrong block shows
        "pad_token_id": words.pad_token_id,
    }
    if family == "albert":
        sizes |= {"embedding_size": 16, "num_hidden_groups": 2}
    config = AutoConfig.for_model(family, **{**sizes, **changes})
    config.save_pretrained(folder)
    if not config_only:
        words.save_pretrained(folder)
    if weights:
        torch.manual_seed(0)
        AutoModel.from_config(config).save_pretrained(folder)
    return folder


def tokenizer(family: str) -> PreTrainedTokenizerFast:
    """WordPiece with [CLS] and [SEP]; byte-level BPE with <s> and </s> for the RoBERTas and MPNet."""
    if family in BYTES:
        special = ["<s>", "<pad>", "</s>", "<unk>"]
        start, pad, end, unknown = special
        core = Tokenizer(models.BPE())
        core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        trainer: Any = trainers.BpeTrainer(
            vocab_size=400, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
        )
        wrap: Any = processors.RobertaProcessing
    else:
        special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
        pad, unknown, start, end = special
        core = Tokenizer(models.WordPiece(unk_token=unknown))
        core.normalizer = normalizers.Lowercase()
        core.pre_tokenizer = pre_tokenizers.Whitespace()
        trainer = trainers.WordPieceTrainer(vocab_size=120, special_tokens=special)
        wrap = processors.BertProcessing
    core.train_from_iterator(CORPUS, trainer)
    core.post_processor = wrap((end, core.token_to_id(end)), (start, core.token_to_id(start)))
    segments = ["token_type_ids"] if family in ("bert", "albert") else []
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        cls_token=start,
        sep_token=end,
        pad_token=pad,
        unk_token=unknown,
        model_input_names=["input_ids", *segments, "attention_mask"],
    )
