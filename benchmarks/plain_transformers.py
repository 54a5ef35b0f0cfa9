"""Does a text data set trained by eebench come out as in plain transformers? A folder with train.csv and test.csv.

    python -m benchmarks.plain_transformers DIR MODEL [--epochs 4] [--seeds 1] [--lr 1e-4] [--train 3872]

The plain side of a run of eebench under ``--budget quick``: the encoder's mean-pooled tokens and one linear layer,
AdamW (decay 0.01 but for biases and norms), a tenth of warm-up, cosine to 0, batch 32, gradients clipped at 1. It reads
the files, tokenises and trains by itself and shares no line with eebench. Figures in docs/data.md.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoModel, AutoTokenizer, get_cosine_schedule_with_warmup

BATCH = 32


class Classifier(nn.Module):
    """An encoder, the mean of its last tokens, one linear layer."""

    def __init__(self, model: Path, classes: int) -> None:
        super().__init__()
        self.encoder = AutoModel.from_pretrained(model, add_pooling_layer=False)
        self.head = nn.Linear(self.encoder.config.hidden_size, classes)

    def forward(self, **inputs: Tensor) -> Tensor:
        """Logits, (B, classes)."""
        states = self.encoder(**inputs).last_hidden_state
        mask = inputs["attention_mask"][..., None].to(states.dtype)
        return self.head((states * mask).sum(1) / mask.sum(1))


def train_and_test(folder: Path, model: Path, epochs: int, lr: float, count: int | None, seed: int) -> float:
    """Test accuracy after so many passes over ``count`` training texts."""
    torch.manual_seed(seed)
    tables = {split: pd.read_csv(folder / f"{split}.csv", dtype={"label": str}) for split in ("train", "test")}
    names = sorted(tables["train"]["label"].unique())
    tokenizer = AutoTokenizer.from_pretrained(model)
    train = tables["train"].sample(n=min(count or len(tables["train"]), len(tables["train"])), random_state=1)
    net = Classifier(model, len(names))
    flat = [p for n, p in net.named_parameters() if p.ndim < 2 or "LayerNorm" in n]
    rest = [p for p in net.parameters() if not any(p is f for f in flat)]
    groups = [{"params": rest, "weight_decay": 0.01}, {"params": flat, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=lr)
    steps = -(-len(train) // BATCH) * epochs
    schedule = get_cosine_schedule_with_warmup(optimizer, round(0.1 * steps), steps)

    def logits(texts: pd.DataFrame) -> tuple[Tensor, Tensor]:
        inputs = tokenizer(texts["text"].tolist(), padding=True, truncation=True, return_tensors="pt")
        return net(**inputs), torch.tensor([names.index(label) for label in texts["label"]])

    for _ in range(epochs):
        net.train()
        for rows in torch.randperm(len(train)).split(BATCH):
            answers, targets = logits(train.iloc[rows.tolist()])
            optimizer.zero_grad()
            F.cross_entropy(answers, targets).backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            schedule.step()
    net.eval()
    right = 0
    with torch.no_grad():
        for start in range(0, len(tables["test"]), 128):
            answers, targets = logits(tables["test"].iloc[start : start + 128])
            right += int((answers.argmax(1) == targets).sum())
    return right / len(tables["test"])


def main() -> None:
    """Print each seed's test accuracy."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--lr", type=float, default=1e-4)
    parser.add_argument("--train", type=int, help="training texts to use: as many as eebench leaves")
    options = parser.parse_args()
    start, scores = time.perf_counter(), []
    for seed in range(options.seeds):
        score = train_and_test(options.folder, options.model, options.epochs, options.lr, options.train, seed)
        scores.append(100 * score)
        print(f"seed {seed}: {scores[-1]:.1f} %", flush=True)
    print(f"mean {np.mean(scores):.1f} %, {(time.perf_counter() - start) / options.seeds:.0f} s a seed")


if __name__ == "__main__":
    main()
