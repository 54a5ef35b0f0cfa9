"""Does a data set trained by eebench come out as in plain PyTorch? One folder of small grey images, both ways.

    python -m benchmarks.plain_torch DIR [--epochs 20] [--seeds 3]

The same ViT (12 blocks, 64 wide, 4 heads, patch 7, stochastic depth 0.1), the same recipe (AdamW 1e-3, decay 0.05 but
for biases and norms, one cycle with a tenth of warm-up, batch 32, clip 1). The plain side reads the files, normalises,
shifts and trains by itself and shares no line with eebench. Figures in docs/data.md.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from timm.models.vision_transformer import VisionTransformer
from torch.nn import functional as F

from eebench import backbones, data
from eebench.data.base import batches
from eebench.engine.model import EarlyExitModel
from eebench.engine.optimise import common_recipe
from eebench.engine.train import backbone_phase, fit

PATCH = 7


def by_eebench(folder: Path, augment: str | None, epochs: int, seed: int) -> float:
    """Test accuracy of the plain backbone as eebench trains it."""
    found = data.load(f"folder:{folder}", augment=augment)
    torch.manual_seed(seed)
    net = backbones.create(
        "vit_micro",
        outputs=found.task.outputs,
        image_size=found.image_size,
        patch_size=PATCH,
        channels=found.channels,
    )
    model = EarlyExitModel(net, {})
    fit(
        model,
        backbone_phase(),
        common_recipe(64, pretrained=False, epochs=epochs),
        found,
        seed=seed,
        device=torch.device("cpu"),
    )
    model.eval()
    right = 0
    with torch.no_grad():
        for batch in batches(found.test, net.prepare, 256):
            right += int((net.plain(batch.inputs).argmax(1) == batch.targets).sum())
    return right / len(found.test)


def by_hand(folder: Path, shift: int, epochs: int, seed: int) -> float:
    """Test accuracy of the same network trained in plain PyTorch on all but a tenth of the training files."""
    images, targets = {}, {}
    for split in ("train", "test"):
        files = sorted((folder / split).glob("*/*"))
        images[split] = (
            torch.from_numpy(np.stack([np.asarray(Image.open(f).convert("L")) for f in files]))[:, None] / 255
        )
        targets[split] = torch.tensor([int(f.parent.name) for f in files])
    rows = torch.randperm(len(images["train"]), generator=torch.Generator().manual_seed(1))
    rows = rows[: round(0.9 * len(rows))]  # as many as eebench leaves to train on
    x, y = images["train"][rows], targets["train"][rows]
    mean, std = x.mean(), x.std()
    torch.manual_seed(seed)
    net = VisionTransformer(
        img_size=28,
        patch_size=PATCH,
        in_chans=1,
        num_classes=10,
        embed_dim=64,
        depth=12,
        num_heads=4,
        drop_path_rate=0.1,
    )
    decayed = [p for n, p in net.named_parameters() if p.ndim > 1 and n not in ("pos_embed", "cls_token")]
    rest = [p for p in net.parameters() if not any(p is d for d in decayed)]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.05}, {"params": rest, "weight_decay": 0.0}], lr=1e-3
    )
    steps = (len(x) + 31) // 32
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=steps * epochs, pct_start=0.1)
    for _ in range(epochs):
        net.train()
        for ids in torch.randperm(len(x)).split(32):
            batch = x[ids]
            if shift:
                padded = F.pad(batch, [shift] * 4)
                corners = torch.randint(0, 2 * shift + 1, (len(ids), 2)).tolist()
                batch = torch.stack([p[:, t : t + 28, c : c + 28] for p, (t, c) in zip(padded, corners, strict=True)])
            loss = F.cross_entropy(net((batch - mean) / std), y[ids])
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            schedule.step()
    net.eval()
    with torch.no_grad():
        answers = torch.cat([net(part) for part in ((images["test"] - mean) / std).split(256)])
    return float((answers.argmax(1) == targets["test"]).float().mean())


def main() -> None:
    """Print both sides' accuracies."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    rows = [(f"eebench, augment {how}", by_eebench, how) for how in ("none", "shift", "crop", "crop+mirror")]
    rows += [(f"plain PyTorch, shift by {shift}", by_hand, shift) for shift in (0, 2)]
    for name, train, setting in rows:
        scores = []
        start = time.perf_counter()
        for seed in range(options.seeds):
            scores.append(100 * train(options.folder, setting, options.epochs, seed))
        seconds = (time.perf_counter() - start) / options.seeds
        print(f"{name:<32} {np.mean(scores):5.1f} % {np.round(scores, 1).tolist()}  {seconds:4.0f} s", flush=True)


if __name__ == "__main__":
    main()
