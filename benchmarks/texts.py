"""Texts of 20 to 60 words with ten of 2,000 among them: time and memory against plain transformers at the same batch.

MiniLM's shape (6 layers, 384 wide) with random weights, cut at 512 tokens. Fresh processes train for an epoch and then
answer for validation and test texts: ``plain`` as a page of transformers code does, ``eebench`` through its own loop,
``exits`` with a linear exit behind every block trained as well, ``frozen`` with only those trained on cached features.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.harness import Result, Settings
from benchmarks.memory import peak_gb
from eebench.api import Phase, Recipe, Task
from eebench.backbones.text import TextBackbone, create_text
from eebench.data.base import Data, Split, batches
from eebench.engine.features import FeatureCache
from eebench.engine.model import EarlyExitModel
from eebench.engine.trace import collect
from eebench.engine.train import backbone_phase, fit
from eebench.parts import LinearExit, joint_loss
from eebench.rules import Confidence

__all__ = ["run"]

WORDS = [f"word{i}" for i in range(500)]
BATCH = 32
GOAL, GOAL_GB = 1.3, 6.0


def run(settings: Settings) -> Iterator[Result]:
    """Each way in a process of its own, one after the other."""
    found = {}
    for way in ("plain", "eebench", "exits", "frozen"):
        command = [sys.executable, "-m", "benchmarks.texts", way, str(int(settings.quick))]
        found[way] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    plain = found["plain"]
    for way in ("eebench", "exits", "frozen"):
        case = f"{plain['texts']} texts, ten of 2,000 words, {way}"
        goal = GOAL if way == "eebench" else None
        yield Result("texts", f"{case}, time", found[way]["seconds"] / plain["seconds"], "of plain", goal)
        memory = found[way]["peak_gb"]
        yield Result("texts", f"{case}, memory", memory / plain["peak_gb"], "of plain", goal, detail=found)
        yield Result("texts", f"{case}, memory", memory, "GB", GOAL_GB)


def _child(way: str, quick: bool) -> dict[str, Any]:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        backbone = _minilm(Path(name), quick)
    data = _texts(40 if quick else 320, 10 if quick else 64)
    started = time.perf_counter()
    if way == "plain":
        _plain(backbone, data)
    else:
        _eebench(backbone, data, way)
    seconds = time.perf_counter() - started
    return {"texts": len(data.train), "seconds": round(seconds, 2), "peak_gb": peak_gb()}


def _plain(backbone: TextBackbone, data: Data) -> None:
    """What one writes without eebench: shuffled batches, padded to their longest; answers at the same batch."""
    net, order = backbone.net, np.random.default_rng(0).permutation(len(data.train))
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4)
    net.train()
    for start in range(0, len(order), BATCH):
        ids = order[start : start + BATCH]
        inputs = backbone.prepare([data.train.inputs[i] for i in ids])
        loss = torch.nn.functional.cross_entropy(net(**inputs).logits, torch.from_numpy(data.train.targets[ids]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    net.eval()
    with torch.inference_mode():
        for split in (data.val, data.test):
            for batch in batches(split, backbone.prepare, BATCH):
                net(**batch.inputs)


def _eebench(backbone: TextBackbone, data: Data, way: str) -> None:
    inner = [] if way == "eebench" else range(1, backbone.depth)
    model = EarlyExitModel(backbone, {b: LinearExit(backbone.layouts[b - 1], data.task.outputs) for b in inner})
    phase, cache, device = backbone_phase(), None, torch.device("cpu")
    if way != "eebench":
        phase = Phase("joint", lambda step: joint_loss(step, [1.0] * len(step.visits)))
    if way == "frozen":
        phase = Phase("exits", phase.loss, trains=lambda name: name.startswith("exits."))
        cache = FeatureCache()
    fit(model, phase, Recipe(epochs=1, lr=1e-4, batch_size=BATCH), data, seed=0, device=device, cache=cache)
    for split in (data.val, data.test):
        collect(model, Confidence(), split, data.task, device=device, batch_size=BATCH)


def _texts(train: int, others: int) -> Data:
    """Of each split's texts the first are long: ten for training, two for validation and test each."""
    rng = np.random.default_rng(0)

    def split(count: int, long: int) -> Split:
        sizes = [2000] * long + rng.integers(20, 61, count - long).tolist()
        return Split([" ".join(rng.choice(WORDS, size)) for size in sizes], rng.integers(0, 8, count))

    long = max(1, train // 32)
    return Data("texts", "text", Task(classes=8), split(train, long), split(others, 2), split(others, 2))


def _minilm(folder: Path, quick: bool) -> TextBackbone:
    """MiniLM's shape with a tokenizer that knows the words: one token each."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    vocabulary = {word: i for i, word in enumerate([*special, *WORDS])}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    core.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    PreTrainedTokenizerFast(
        tokenizer_object=core, cls_token="[CLS]", sep_token="[SEP]", pad_token="[PAD]", unk_token="[UNK]"
    ).save_pretrained(folder)
    sizes = (32, 2, 2, 64) if quick else (384, 6, 12, 1536)
    names = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    BertConfig(vocab_size=30522, **dict(zip(names, sizes, strict=True))).save_pretrained(folder)
    torch.manual_seed(0)
    return create_text(str(folder), outputs=8, allow_random=True)


if __name__ == "__main__":
    print(json.dumps(_child(sys.argv[1], sys.argv[2] == "1")))
