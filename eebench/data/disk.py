"""What a data set expects on disk, and what to say when it is not there. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from eebench.data.names import DEFAULT_ROOT, IDX, TORCH
from eebench.errors import UserError

__all__ = [
    "IDX_STEMS",
    "csv_files",
    "idx_files",
    "imagenet_folder",
    "missing_torch",
    "need_directory",
    "need_library",
    "split_folders",
    "torch_root",
    "wds_root",
]

IDX_STEMS = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
DEBIAN = {"fashion_mnist": Path("/usr/share/datasets/fashion-mnist")}  # Debian's package dataset-fashion-mnist

SPLIT_FOLDERS = {"train": ("train", "training"), "val": ("val", "valid", "validation"), "test": ("test",)}


def need_directory(path: Path, what: str) -> Path:
    """``path`` when it is a directory; a UserError that says what was looked for otherwise."""
    path = path.expanduser()
    if not path.is_dir():
        state = "is not a directory" if path.exists() else "does not exist"
        raise UserError(f"{what} '{path}' {state}")
    return path


def need_library(module: str, name: str, install: str) -> None:
    """A UserError that says what to install when ``module`` is not importable."""
    if find_spec(module) is None:
        raise UserError(f"data set '{name}' needs the {module} library: pip install '{install}'")


def idx_files(name: str, data_dir: Path | None) -> dict[str, tuple[Path, Path]]:
    """Paths of the four IDX files, ``{"train": (images, labels), "test": …}``, gzipped or not.

    Looked for in the data directory itself, in its sub-folder of the set's name, and where torchvision keeps them;
    without a data directory also where Debian's package puts them.

    Raises:
        UserError: no folder holds all four; the message names the folders, or the files one of them lacks.
    """
    root = (data_dir or DEFAULT_ROOT).expanduser()
    folders = [root, root / name, root / name.replace("_", "-"), root / IDX[name] / "raw"]
    folders = list(dict.fromkeys(folders + ([DEBIAN[name]] if data_dir is None and name in DEBIAN else [])))
    for folder in folders:
        found = {split: tuple(_plain_or_gz(folder, stem) for stem in stems) for split, stems in IDX_STEMS.items()}
        absent = [s for split, stems in IDX_STEMS.items() for s, p in zip(stems, found[split], strict=True) if not p]
        if not absent:
            return {split: (images, labels) for split, (images, labels) in found.items() if images and labels}
        if len(absent) < 4:
            raise UserError(f"data set '{name}': '{folder}' lacks {', '.join(f'{stem}.gz' for stem in absent)}")
    stems = ", ".join(f"{stem}.gz" for pair in IDX_STEMS.values() for stem in pair)
    raise UserError(f"data set '{name}' not found in {_quoted(folders)}; expected {stems}")


def _plain_or_gz(folder: Path, stem: str) -> Path | None:
    return next((p for p in (folder / f"{stem}.gz", folder / stem) if p.is_file()), None)


def torch_root(name: str, data_dir: Path | None) -> Path:
    """The root to hand to torchvision, once what the set keeps below it has been seen to exist."""
    root = (data_dir or DEFAULT_ROOT).expanduser()
    if not all((root / path).exists() for path in TORCH[name].expects):
        raise missing_torch(name, root)
    return root


def missing_torch(name: str, root: Path) -> UserError:
    """The error for a torchvision data set that is absent or fails its checksums, with the line that fetches it."""
    entry = TORCH[name]
    where = ", ".join(str(root / path) for path in entry.expects)
    fetch = f"python -c \"import torchvision.datasets as d; d.{entry.cls}(r'{root}', download=True)\""
    mend = f"; fetch it once with: {fetch}" if entry.download else ""
    return UserError(f"data set '{name}' not found or damaged: expected {where}{mend}")


def imagenet_folder(data_dir: Path | None) -> Path:
    """The folder that holds ImageNet's ``train/``: the data directory or its sub-folder ``imagenet``."""
    root = (data_dir or DEFAULT_ROOT).expanduser()
    folders = [root, root / "imagenet"]
    for folder in folders:
        if (folder / "train").is_dir() and any((folder / val).is_dir() for val in SPLIT_FOLDERS["val"]):
            return folder
    raise UserError(f"data set 'imagenet' not found in {_quoted(folders)}; expected train/CLASS/ and val/CLASS/ there")


def split_folders(root: Path) -> dict[str, Path]:
    """Folders of an image folder's splits, keyed train, val, test; just ``train`` (the root) where there are none.

    Raises:
        UserError: no such directory, no class folders, test images without training images, or two names of one split.
    """
    root = need_directory(root, "image folder")
    present = {split: [root / n for n in names if (root / n).is_dir()] for split, names in SPLIT_FOLDERS.items()}
    for folders in present.values():
        if len(folders) > 1:
            raise UserError(f"image folder '{root}' has both {folders[0].name}/ and {folders[1].name}/: keep one")
    found = {split: folders[0] for split, folders in present.items() if folders}
    if found and "train" not in found:
        raise UserError(f"image folder '{root}' has {next(iter(found.values())).name}/ but no train/")
    found = found or {"train": root}
    for folder in found.values():
        if not class_folders(folder):
            raise UserError(f"image folder '{folder}' has no class sub-folders")
    return found


def class_folders(folder: Path) -> list[str]:
    """Names of the class folders; those that start with a dot are no classes."""
    return [path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]


def csv_files(folder: Path) -> dict[str, Path]:
    """``{"train": …, "test": …}`` and perhaps ``"val"`` of a ``csv:DIR`` data set."""
    folder = need_directory(folder, "data directory")
    files = {"train": folder / "train.csv", "val": folder / "validation.csv", "test": folder / "test.csv"}
    absent = [files[split].name for split in ("train", "test") if not files[split].is_file()]
    if absent:
        raise UserError(
            f"'{folder}' lacks {' and '.join(absent)}; expected train.csv, test.csv, perhaps validation.csv"
        )
    return {split: path for split, path in files.items() if path.is_file()}


def wds_root(name: str, data_dir: Path | None) -> tuple[Path, Path]:
    """Folder of a WebDataset's shards, and the info file in it that lists them split by split."""
    root = need_directory(data_dir or DEFAULT_ROOT, "data directory")
    for info in (root / "_info.json", root / "info.json"):
        if info.is_file():
            return root, info
    raise UserError(f"data set '{name}': '{root}' lacks _info.json, which lists the shards of each split")


def _quoted(paths: Sequence[Path]) -> str:
    return ", ".join(f"'{path}'" for path in paths)
