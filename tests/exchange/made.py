"""Made-up predictions on disk: a folder that ``eebench import`` takes, wrong in one place at a time."""

import json
from pathlib import Path

import numpy as np

from eebench.measure import softmax

CLASSES, BLOCKS, MACS = 3, (2, 4, 6), (2e6, 4e6, 6.5e6)


def logits_of(targets, seed, exits=3, classes=CLASSES):
    """(N, E, K): later exits know more."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(len(targets), exits, classes))
    sharp = np.linspace(1.0, 3.0, exits)[None, :, None]
    return (noise + sharp * np.eye(classes)[targets][:, None]).astype(np.float32)


def split_of(seed, samples=60):
    targets = np.random.default_rng(seed).integers(0, CLASSES, samples)
    return {"targets": targets, "logits": logits_of(targets, seed + 100)}


def answers_only(split):
    p = softmax(split["logits"])
    return {"targets": split["targets"], "predictions": p.argmax(-1), "confidences": p.max(-1)}


def card_of(**changes):
    model = {"method": "mine", "blocks": list(BLOCKS), "macs": list(MACS)}
    card = {"format": "eebench-predictions", "version": 1, "task": {"classes": CLASSES}, "data": {"name": "made"}}
    card |= {"backbone": {"name": "net", "depth": 6, "macs": 6e6}, "models": [model]}
    return card | changes


def write(folder: Path, card=None, **splits) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "card.json").write_text(json.dumps(card or card_of()))
    for split, seed in (("val", 1), ("test", 2)):
        np.savez(folder / f"{split}.npz", **splits.get(split, split_of(seed)))
    return folder
