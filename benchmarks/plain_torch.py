"""Does a data set trained by eebench come out as in plain PyTorch? The same small ViT from scratch, both ways.

    python -m benchmarks.plain_torch fashion_mnist --data-dir DIR --epochs 2 --side plain
    python -m benchmarks.plain_torch folder:DIR [--epochs 20] [--seeds 3] [--augment crop]

The same network (12 blocks, 64 wide, 4 heads, MLP ratio 2, Xavier's initialisation) and the common recipe of a run
(AdamW 2e-3, decay 0.05 but for biases and norms, a tenth of warm-up, cosine to 0, batch 64, clip 1, shifts by a
fourteenth of the side). The plain side reads files, normalises, shifts and trains by itself and shares no line with
eebench; of the data sets that packages carry it takes eebench's images, so that both see the same test split. Figures
in docs/data.md.
"""

from __future__ import annotations

import argparse
import gzip
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from eebench import backbones, data
from eebench.data.base import batches
from eebench.engine.model import EarlyExitModel
from eebench.engine.optimise import common_recipe
from eebench.engine.train import backbone_phase, fit

WIDTH, BATCH, LR = 64, 64, 2e-3


class Images(NamedTuple):
    """Grey images (N, 1, side, side) in [0, 1] and their classes, to train on and to test on."""

    train: Tensor
    train_targets: Tensor
    test: Tensor
    test_targets: Tensor


def from_folder(folder: Path) -> Images:
    """train/CLASS/* and test/CLASS/*, all but a tenth of the training files."""
    parts = []
    for split in ("train", "test"):
        files = sorted((folder / split).glob("*/*"))
        names = sorted({f.parent.name for f in files})
        pixels = np.stack([np.asarray(Image.open(f).convert("L")) for f in files])
        parts += [torch.from_numpy(pixels)[:, None] / 255, torch.tensor([names.index(f.parent.name) for f in files])]
    return _all_but_a_tenth(*parts)


def from_idx(folder: Path) -> Images:
    """The four IDX files of MNIST and its relatives, all but a tenth of the training images."""
    parts = []
    for split in ("train", "t10k"):
        with gzip.open(folder / f"{split}-images-idx3-ubyte.gz") as file:
            pixels = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 1, 28, 28)
        with gzip.open(folder / f"{split}-labels-idx1-ubyte.gz") as file:
            targets = np.frombuffer(file.read(), np.uint8, offset=8)
        parts += [torch.from_numpy(pixels.copy()) / 255, torch.from_numpy(targets.astype(np.int64))]
    return _all_but_a_tenth(*parts)


def of_a_package(name: str) -> Images:
    """The images and the split of a data set that eebench has built in."""
    found = data.load(name, augment="none")  # the plain side shifts by itself
    parts = []
    for split in (found.train, found.test):
        plain = torch.stack([split.inputs[i] for i in range(len(split))])
        parts += [plain, torch.from_numpy(split.targets)]
    return Images(*parts)


def _all_but_a_tenth(train: Tensor, train_targets: Tensor, test: Tensor, test_targets: Tensor) -> Images:
    """As many as eebench leaves to train on."""
    rows = torch.randperm(len(train), generator=torch.Generator().manual_seed(1))[: round(0.9 * len(train))]
    return Images(train[rows], train_targets[rows], test, test_targets)


def images_of(name: str, data_dir: Path | None) -> Images:
    """What the plain side reads."""
    if name.startswith("folder:"):
        return from_folder(Path(name.removeprefix("folder:")))
    return from_idx(data_dir) if data_dir is not None else of_a_package(name)


def by_eebench(name: str, data_dir: Path | None, patch: int, augment: str | None, epochs: int, seed: int) -> float:
    """Test accuracy of the plain backbone as eebench trains it."""
    found = data.load(name, data_dir=data_dir, augment=augment)
    torch.manual_seed(seed)
    net = backbones.create(
        "vit_micro",
        outputs=found.task.outputs,
        image_size=found.image_size,
        patch_size=patch,
        channels=found.channels,
    )
    model = EarlyExitModel(net, {})
    recipe = common_recipe(WIDTH, pretrained=False, epochs=epochs)
    fit(model, backbone_phase(), recipe, found, seed=seed, device=torch.device("cpu"))
    model.eval()
    right = 0
    with torch.no_grad():
        for batch in batches(found.test, net.prepare, 256):
            right += int((net.plain(batch.inputs).argmax(1) == batch.targets).sum())
    return right / len(found.test)


def make_network(side: int, patch: int, classes: int) -> nn.Module:
    """The same architecture and initialisation, straight from timm."""
    net = VisionTransformer(
        img_size=side,
        patch_size=patch,
        in_chans=1,
        num_classes=classes,
        embed_dim=WIDTH,
        depth=12,
        num_heads=4,
        mlp_ratio=2.0,
    )
    for name, weights in net.named_parameters():
        if name.endswith(("qkv.weight", "proj.weight", "fc1.weight", "fc2.weight")):
            nn.init.xavier_uniform_(weights.data.view(len(weights), -1))
        elif name.endswith(("qkv.bias", "proj.bias", "fc1.bias", "fc2.bias")):
            nn.init.zeros_(weights)
    return net


def by_hand(images: Images, patch: int, shift: int, epochs: int, seed: int) -> float:
    """Test accuracy of the same network trained in plain PyTorch."""
    x, y, test, targets = images
    side, mean, std = x.shape[-1], x.mean(), x.std()
    torch.manual_seed(seed)
    net = make_network(side, patch, int(y.max()) + 1)
    decayed = [p for p in net.parameters() if p.ndim > 1]
    rest = [p for p in net.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": 0.05}, {"params": rest, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=LR, fused=True)
    steps = -(-len(x) // BATCH) * epochs
    warm = torch.optim.lr_scheduler.LinearLR(optimizer, 1e-3, total_iters=round(0.1 * steps))
    fall = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps - round(0.1 * steps))
    schedule = torch.optim.lr_scheduler.SequentialLR(optimizer, [warm, fall], [round(0.1 * steps)])
    for _ in range(epochs):
        net.train()
        for ids in torch.randperm(len(x)).split(BATCH):
            batch = x[ids]
            if shift:
                padded = F.pad(batch, [shift] * 4, mode="replicate")
                corners = torch.randint(0, 2 * shift + 1, (len(ids), 2)).tolist()
                moved = [p[:, t : t + side, c : c + side] for p, (t, c) in zip(padded, corners, strict=True)]
                batch = torch.stack(moved)
            loss = F.cross_entropy(net((batch - mean) / std), y[ids])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            schedule.step()
    net.eval()
    with torch.no_grad():
        answers = torch.cat([net(part) for part in ((test - mean) / std).split(256)])
    return float((answers.argmax(1) == targets).float().mean())


def main() -> None:
    """Print each side's accuracies."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("data", help="digits, mnist5k, fashion_mnist or its relatives, folder:DIR of grey images")
    parser.add_argument("--data-dir", type=Path, help="where the four IDX files lie")
    parser.add_argument("--patch", type=int, default=7)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--augment", help="eebench's side: instead of the data set's default")
    parser.add_argument("--side", choices=("both", "eebench", "plain"), default="both")
    options = parser.parse_args()
    images = images_of(options.data, options.data_dir)
    # digits are trained as they are, larger images shifted by a fourteenth of their side: eebench's defaults
    shift = 0 if options.data == "digits" or options.augment == "none" else round(images.train.shape[-1] / 14)
    print(f"{len(images.train):,} training images, {len(images.test):,} test images, shift by {shift} in plain PyTorch")
    sides = {
        "eebench": lambda seed: by_eebench(
            options.data, options.data_dir, options.patch, options.augment, options.epochs, seed
        ),
        "plain": lambda seed: by_hand(images, options.patch, shift, options.epochs, seed),
    }
    for side, train in sides.items():
        if options.side not in ("both", side):
            continue
        start = time.perf_counter()
        scores = [100 * train(seed) for seed in range(options.seeds)]
        seconds = (time.perf_counter() - start) / options.seeds
        print(f"{side:<8} {np.mean(scores):5.1f} % {np.round(scores, 1).tolist()}  {seconds:4.0f} s", flush=True)


if __name__ == "__main__":
    main()
