"""Data sets by name. Light on purpose: ``eebench list datasets`` reads this and imports no library.

Facts here (folder names, split names, class counts) are torchvision's and timm's own: torchvision ``datasets/*.py``,
timm ``data/dataset_factory.py``.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from eebench.errors import UserError, did_you_mean

__all__ = ["DEFAULT_ROOT", "GLUE", "IDX", "TORCH", "Glue", "Torch", "known", "parse", "patch_size_for"]

DEFAULT_ROOT = Path("data")
"""Where data sets are looked for when no data directory is given, as in torchvision's examples."""

SMALL = 32  # pixels: up to here images run at their own size, with a patch size of their own


@dataclass(frozen=True, slots=True)
class Torch:
    """A torchvision data set."""

    cls: str  # torchvision.datasets.<cls>
    expects: tuple[str, ...]  # what lies under the root when it is there
    test: str = "test"  # the split with public labels that no training sees
    small: bool = False  # held in memory as pixels, run at its own size
    flip: bool = True  # mirrored images still mean the same
    timm: bool = True  # timm's factory knows it; else torchvision is asked directly
    download: bool = True  # torchvision can fetch it


TORCH = {
    "cifar10": Torch("CIFAR10", ("cifar-10-batches-py",), small=True),
    "cifar100": Torch("CIFAR100", ("cifar-100-python",), small=True),
    "svhn": Torch("SVHN", ("train_32x32.mat", "test_32x32.mat"), small=True, flip=False, timm=False),
    "mnist": Torch("MNIST", ("MNIST/raw",), small=True, flip=False),
    "kmnist": Torch("KMNIST", ("KMNIST/raw",), small=True, flip=False),
    "qmnist": Torch("QMNIST", ("QMNIST/raw",), small=True, flip=False),
    "fashion_mnist": Torch("FashionMNIST", ("FashionMNIST/raw",), small=True),
    "food101": Torch("Food101", ("food-101/images", "food-101/meta"), timm=False),
    "places365": Torch("Places365", ("places365_train_standard.txt", "places365_val.txt"), test="validation"),
    "inaturalist": Torch("INaturalist", ("2021_train", "2021_valid"), test="validation"),
    "imagenet": Torch("ImageNet", ("train", "val"), test="validation", download=False),
}

IDX = {
    "fashion_mnist": "FashionMNIST",
    "mnist": "MNIST",
    "kmnist": "KMNIST",
}
"""Sets read straight from their four IDX files, and the folder torchvision keeps those in."""


@dataclass(frozen=True, slots=True)
class Glue:
    """A GLUE task (Wang et al., ICLR 2019, table 1): its columns and its metric."""

    columns: tuple[str, ...]
    metric: str = "accuracy"
    test: str = "validation"  # labels of GLUE's own test split are not public


GLUE = {
    "cola": Glue(("sentence",), "mcc"),
    "sst2": Glue(("sentence",)),
    "mrpc": Glue(("sentence1", "sentence2"), "accuracy_f1"),
    "qqp": Glue(("question1", "question2"), "accuracy_f1"),
    "stsb": Glue(("sentence1", "sentence2"), "pearson_spearman"),
    "mnli": Glue(("premise", "hypothesis"), test="validation_matched"),
    "qnli": Glue(("question", "sentence")),
    "rte": Glue(("sentence1", "sentence2")),
    "wnli": Glue(("sentence1", "sentence2")),
}

SHORT = {
    "digits": ("digits", "", "scikit-learn's 1,797 grey 8x8 digits: the embedded default, 10 classes"),
    "fashion_mnist": ("idx", "fashion_mnist", "70,000 grey 28x28 clothes from the four IDX files, 10 classes"),
    "mnist": ("idx", "mnist", "70,000 grey 28x28 digits from the four IDX files, 10 classes"),
    "kmnist": ("idx", "kmnist", "70,000 grey 28x28 Kuzushiji characters from the four IDX files, 10 classes"),
    "cifar10": ("torch", "cifar10", "60,000 32x32 colour images, 10 classes (torchvision)"),
    "cifar100": ("torch", "cifar100", "60,000 32x32 colour images, 100 classes (torchvision)"),
    "svhn": ("torch", "svhn", "99,289 32x32 colour house numbers, 10 classes (torchvision)"),
    "food101": ("torch", "food101", "101,000 photographs of dishes, 101 classes (torchvision)"),
    "imagenet": ("imagenet", "", "ImageNet-1K as folders train/ and val/; val/ is the test set"),
}

PATTERNS = {
    "torch/NAME": f"a torchvision data set by timm's name: {', '.join(TORCH)}",
    "hfds/NAME": "an image data set of the Hugging Face hub, or of a local folder: hfds//path (needs eebench[text])",
    "wds/NAME": "WebDataset shards in the data directory, with timm's _info.json (needs webdataset)",
    "folder:DIR": "your images: DIR/train/CLASS/*.jpg, test/, perhaps val/; or DIR/CLASS/*.jpg, which eebench splits",
    "csv:DIR": "your texts: DIR/train.csv, test.csv, perhaps validation.csv; columns text, label, perhaps text2",
}


def known() -> dict[str, str]:
    """Every data set that can be named, in one line each; capitals stand for what the user fills in."""
    glue = {f"glue/{task}": f"GLUE {task}, {' + '.join(g.columns)}; metric {g.metric}" for task, g in GLUE.items()}
    return {name: text for name, (_, _, text) in SHORT.items()} | glue | PATTERNS


def parse(name: str) -> tuple[str, str]:
    """``(kind, rest)`` of a data set's name, such as ``("torch", "cifar100")`` for ``cifar100``.

    Kinds: digits, idx, torch, imagenet, hfds, wds, folder, csv, glue. A directory's path is a ``folder``.

    Raises:
        UserError: no such data set, with the nearest name.
    """
    if name in SHORT:
        return SHORT[name][:2]
    for kind in ("folder", "csv"):
        if name.startswith(f"{kind}:"):
            return _filled(name, kind, name.removeprefix(f"{kind}:"))
    prefix, slash, rest = name.partition("/")
    if slash and prefix in ("hfds", "wds"):
        return _filled(name, prefix, rest)
    members: dict[str, Collection[str]] = {"torch": TORCH, "glue": GLUE}
    if slash and prefix in members:
        if rest not in members[prefix]:
            raise UserError(
                f"unknown data set '{name}'{did_you_mean(name, [f'{prefix}/{m}' for m in members[prefix]])}"
            )
        return prefix, rest
    if Path(name).expanduser().is_dir():
        return "folder", name
    if slash:
        raise UserError(f"'{name}' is neither a data set nor a directory; see: eebench list datasets")
    raise UserError(f"unknown data set '{name}'{did_you_mean(name, known())}")


def _filled(name: str, kind: str, rest: str) -> tuple[str, str]:
    if not rest:
        raise UserError(f"data set '{name}' lacks what comes after '{kind}', as in {_example(kind)}")
    return kind, rest


def _example(kind: str) -> str:
    return next(pattern for pattern in PATTERNS if pattern.startswith(kind))


def patch_size_for(image_size: int) -> int | None:
    """The patch size (pixels) a data set of small square images asks a ViT for; None above 32 pixels or when none fits.

    8 pixels give 4x4 patches of 2, 28 give 7x7 of 4, 32 give 8x8 of 4.
    """
    patch = 2 if image_size <= 16 else 4
    return patch if image_size <= SMALL and image_size % patch == 0 else None
