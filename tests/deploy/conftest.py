"""Tiny trained-looking models, each exported once for all tests of the room."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from eebench.api import Task
from eebench.deploy.export import Described, export
from eebench.engine.model import assemble
from eebench.testing import tiny_text, tiny_vit
from eebench_methods.pabee import PABEE
from eebench_methods.palbert import PALBERT


def made(method, backbone) -> SimpleNamespace:
    """A method on a tiny network, its weights disturbed so that samples stop everywhere: ``model``, ``rule``."""
    task = Task(classes=3)
    torch.manual_seed(0)
    model = assemble(method, backbone, task).eval().requires_grad_(False)
    for parameter in model.exits.parameters():
        if parameter.ndim > 1:
            parameter.add_(0.3 * torch.randn_like(parameter))
    return SimpleNamespace(model=model, rule=method.rule(task), task=task)


@pytest.fixture(scope="session")
def vision(tmp_path_factory) -> SimpleNamespace:
    """PABEE on a ViT of three blocks, as ONNX: ``model``, ``rule``, ``folder``, ``deployment``."""
    found = made(PABEE(), tiny_vit(depth=3))
    found.folder = tmp_path_factory.mktemp("vision") / "exported"
    knobs = {"drop_1": 1.0, "macs_50": 0.0}
    described = Described("pabee", 1.0, "drop_1", knobs, ("one", "two", "three"))
    found.deployment = export(found.model, found.rule, found.folder, described)
    return found


@pytest.fixture(scope="session")
def text(tmp_path_factory) -> SimpleNamespace:
    """PALBERT, whose exits put their classifier off, on a text encoder of three blocks, as ONNX."""
    found = made(PALBERT(lambda_layers=1), tiny_text(depth=3))
    found.folder = tmp_path_factory.mktemp("text") / "exported"
    found.deployment = export(found.model, found.rule, found.folder, Described("palbert", 0.5))
    return found


def pictures(count: int) -> torch.Tensor:
    """Images of the tiny ViT."""
    return torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def tokens(count: int) -> dict[str, torch.Tensor]:
    """Texts of the tiny encoder, of several lengths."""
    generator = torch.Generator().manual_seed(2)
    ids = torch.randint(2, 50, (count, 11), generator=generator)
    ids[:, 0] = 1
    for row, length in zip(ids, torch.randint(3, 12, (count,), generator=generator), strict=True):
        row[length:] = 0
    return {"input_ids": ids, "attention_mask": (ids > 0).long()}


@pytest.fixture
def again(vision, tmp_path) -> Path:
    """The exported ViT once more, to damage."""
    import shutil

    return Path(shutil.copytree(vision.folder, tmp_path / "copy"))
