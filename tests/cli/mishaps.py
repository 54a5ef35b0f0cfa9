"""What the catalogue of bad input names: damaged files, odd folders, plugins that misbehave."""

from __future__ import annotations

import json
import os
from pathlib import Path

__all__ = ["write_mishaps"]

KEYS = ("run", "command", "spec", "spec_sha256", "environment", "data", "backbone", "macs", "cells")

_CSV: dict[str, dict[str, bytes]] = {
    "emptycsv": {"train": b"", "test": b""},
    "headeronly": {"train": b"text,label\n", "test": b"text,label\nx,a\n"},
    "nolabel": {"train": b"text,kind\nx,a\ny,b\n", "test": b"text,kind\nx,a\n"},
    "notext": {"train": b"words,label\nx,a\ny,b\n", "test": b"words,label\nx,a\n"},
    "twice": {"train": b"text,label,label\nx,a,a\n", "test": b"text,label\nx,a\n"},
    "ragged": {"train": b"text,label\nx,a\ny,b,c\n", "test": b"text,label\nx,a\n"},
    "nul": {"train": b"text,label\nx\x00y,a\nz,b\n", "test": b"text,label\nx,a\n"},
    "latin": {"train": "text,label\ncafé,a\nz,b\n".encode("latin-1"), "test": b"text,label\nx,a\n"},
    "oneclass_csv": {"train": b"text,label\nx,a\ny,a\n", "test": b"text,label\nz,a\n"},
    "unseen": {"train": b"text,label\nx,a\ny,b\n", "test": b"text,label\nz,c\n"},
    "quotes": {"train": b'text,label\n"x,a\ny,b\n', "test": b"text,label\nz,a\n"},
}


def write_mishaps(folder: Path) -> None:
    """Everything that the catalogue names."""
    import torch
    from PIL import Image
    from safetensors.torch import save_file

    from eebench.backbones import create

    def text(name: str, content: str) -> None:
        (folder / name).write_text(content, encoding="utf-8")

    text("file", "mine")
    text("words.txt", "words")
    text("words.pth", "words")
    text("words.safetensors", "these are words, not weights")
    text("empty.safetensors", "")
    text("bad.toml", "methods = [")
    text("strange.toml", "surprise = 1\n")
    text("there.py", "")
    text("bad.py", "import no_such_library")
    text("syntax.py", "def (:")
    text("leaves.py", "import sys; sys.exit(3)")
    text("raises.py", "1 / 0")
    text("nothing.py", "x = 1")
    method = "from eebench.parts import LinearExit\nfrom eebench.api import Method\n"
    method += "class M(Method):\n    name = {!r}\n    def build(self, b, t): return {{}}\n    def rule(self, t): ...\n"
    method += "    def phases(self, t): return []\n"
    text("reserved.py", method.format("backbone"))
    text("taken.py", method.format("pabee"))
    save_file({"patch_embed.proj.weight": torch.zeros(64, 1, 2, 2)}, folder / "misfit.safetensors")
    (folder / "short.safetensors").write_bytes((folder / "misfit.safetensors").read_bytes()[:-100])
    state = dict(create("vit_micro", outputs=10, channels=1).net.state_dict())
    save_file({**state, "patch_embed.proj.weight": torch.zeros(32, 1, 7, 7)}, folder / "bent.safetensors")
    (folder / "pickle.pth").write_bytes(b"\x80\x04cposix\nsystem\n(S'touch pwned'\ntR.")
    (folder / "emptyfolder").mkdir()
    (folder / "coded").mkdir()
    text("coded/config.json", json.dumps({"model_type": "mine", "auto_map": {"AutoModel": "code.Model"}}))
    text("coded/code.py", "import pathlib; pathlib.Path('pwned').touch()")

    def picture(name: str, shade: int = 0) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 40), (shade % 256, shade // 256, 7)).save(path)

    def pictures(root: str, classes: str, number: int, shade: int) -> None:
        for k, name in enumerate(classes):
            for i in range(number):
                picture(f"{root}/{name}/{i}.png", shade + 100 * k + i)

    pictures("onlytest/test", "ab", 2, 0)
    pictures("oneclass", "a", 20, 0)
    (folder / "noimages" / "a").mkdir(parents=True)
    text("noimages/a/readme", "none")
    pictures("loop", "ab", 10, 0)
    os.symlink("..", folder / "loop" / "a" / "up")
    pictures("badimage", "ab", 20, 0)
    text("badimage/a/c.png", "no picture")
    for split, shade in (("train", 0), ("val", 300), ("test", 600)):
        pictures(f"badtest/{split}", "ab", 10, shade)
        pictures(f"newclass/{split}", "ab" if split == "train" else "abc", 5, shade)
    (folder / "badtest" / "test" / "a" / "bad.png").write_bytes((folder / "badtest/test/a/0.png").read_bytes()[:60])
    pictures("notutf8", "ab", 2, 0)
    os.mkdir(os.fsencode(folder / "notutf8") + b"/caf\xe9")
    for name, files in _CSV.items():
        (folder / name).mkdir()
        for split, content in files.items():
            (folder / name / f"{split}.csv").write_bytes(content)
    for name, tests in (("good", 12), ("onetest", 1)):
        (folder / name).mkdir()
        for split, number in (("train", 40), ("test", tests)):
            rows = [f"{split} words number {i},{'ab'[i % 2]}" for i in range(number)]
            text(f"{name}/{split}.csv", "\n".join(["text,label", *rows]) + "\n")
    runs: dict[str, object] = {
        "words": None, "list": [1], "other": {"schema_version": 99}, "hollow": {"schema_version": 3},
        "tableless": {"schema_version": 3, "checksums": {"curves.csv": "0" * 64}, **{key: {} for key in KEYS}},
    }  # fmt: skip
    for name, values in runs.items():
        (folder / "runs" / name).mkdir(parents=True)
        text(f"runs/{name}/run.json", "no json" if values is None else json.dumps(values))
