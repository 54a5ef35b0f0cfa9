"""Backbones of one's own: out of a plugin file and an installed package, in a whole run, and every way to be wrong."""

import sys
from importlib.metadata import EntryPoint
from types import SimpleNamespace

import pytest
import torch

import eebench
from eebench import backbones
from eebench.errors import UserError
from eebench.plugins.registry import Registry
from eebench.runs.how import Execution

OWN = '''
import torch
from torch import nn
from eebench.api import Backbone, Features, Layout

class Mixer(Backbone):
    """Rows of pixels as tokens, four small blocks.

    And more.
    """
    name = "row_mixer"
    modality = "vision"
    family = "mixer"

    def __init__(self, outputs, side, channels):
        super().__init__()
        layout = Layout(dim=16, prefix=0, grid=(side, 1), cls=False, dist=False, pool="mean")
        self.layouts, self.heads = (layout,) * 4, (1,) * 4
        self.stem = nn.Linear(side * channels, 16)
        self.blocks = nn.ModuleList(nn.Sequential(nn.LayerNorm(16), nn.Linear(16, 16), nn.GELU()) for _ in range(4))
        self.last, self.head = nn.LayerNorm(16), nn.Linear(16, outputs)

    @classmethod
    def create(cls, *, outputs, image_size, patch_size, channels):
        return cls(outputs, image_size, channels)

    def embed(self, inputs):
        return Features(self.stem(inputs.permute(0, 2, 1, 3).flatten(2)), self.layouts[0])

    def block(self, number, features):
        return Features(features.tokens + self.blocks[number - 1](features.tokens), features.layout)

    def norm(self, features):
        return Features(self.last(features.tokens), features.layout)

    def classify(self, features):
        return self.head(self.last(features.tokens).mean(1))

    def plain(self, inputs):
        features = self.embed(inputs)
        for number in range(1, self.depth + 1):
            features = self.block(number, features)
        return self.classify(features)

    def prepare(self, raw):
        return torch.stack(list(raw))

    def shorten(self, blocks):
        self.blocks, self.layouts, self.heads = self.blocks[:blocks], self.layouts[:blocks], self.heads[:blocks]
        return self
'''


@pytest.fixture
def own(tmp_path):
    path = tmp_path / "mixer.py"
    path.write_text(OWN)
    return path


@pytest.fixture
def entries(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "mixer_package.py").write_text(OWN)

    def install(**values):
        found = []
        for name, value in values.items():
            entry = EntryPoint(name, value, "eebench.backbones")
            vars(entry).update(dist=SimpleNamespace(name="mixers", version="0.3"))
            found.append(entry)
        monkeypatch.setattr("eebench.discovery.entry_points", lambda group: found)

    yield install
    sys.modules.pop("mixer_package", None)


def test_a_file_brings_a_backbone(own):
    assert backbones.known([own])["row_mixer"] == "Rows of pixels as tokens, four small blocks"
    assert "row_mixer" not in backbones.known()
    made = backbones.create("row_mixer", outputs=3, image_size=8, channels=1, plugins=[own])
    assert made.plain(torch.rand(2, 1, 8, 8)).shape == (2, 3)
    assert not Registry.installed([own]).broken
    with pytest.raises(UserError, match="unknown backbone 'row_mixer'"):
        backbones.create("row_mixer", outputs=3)
    with pytest.raises(UserError, match="'row_mixer' decides for itself"):
        backbones.create("row_mixer", outputs=3, image_size=8, channels=1, pool="cls", plugins=[own])


def test_a_package_brings_a_backbone(entries):
    entries(row_mixer="mixer_package:Mixer")
    assert backbones.known()["row_mixer"] == "Rows of pixels as tokens, four small blocks"
    assert "mixer_package" not in sys.modules
    assert backbones.create("row_mixer", outputs=3, image_size=8, channels=1).depth == 4


def test_what_is_wrong_with_a_strangers_backbone_is_one_line(entries, own):
    entries(vit_ti="mixer_package:Mixer")
    with pytest.raises(UserError, match=r"two backbones are called 'vit_ti': one from eebench, one from mixers 0.3"):
        backbones.known()
    entries(row_mixer="mixer_package:torch")
    with pytest.raises(UserError, match=r"'row_mixer': .*no subclass of eebench.api.Backbone"):
        backbones.create("row_mixer", outputs=3)
    entries(row_mixer="no_such_module:Mixer")
    with pytest.raises(UserError, match=r"'row_mixer' \(mixers 0.3\) cannot be imported: ModuleNotFoundError"):
        backbones.create("row_mixer", outputs=3)
    entries()
    with pytest.raises(UserError, match=r"'row_mixer' cannot be built with channels 1: TypeError: .*NoneType"):
        backbones.create("row_mixer", outputs=3, channels=1, plugins=[own])
    own.write_text(OWN.replace("return cls(outputs, image_size, channels)", "return 3"))
    with pytest.raises(UserError, match=r"made int, not an eebench.api.Backbone"):
        backbones.create("row_mixer", outputs=3, plugins=[own])
    own.write_text(OWN.replace('"row_mixer"', '"row mixer"'))
    with pytest.raises(UserError, match=r"'row mixer' .* is no name for a backbone"):
        backbones.known([own])


def test_a_whole_run_and_what_it_trained(own, tmp_path):
    spec = eebench.make_spec(
        methods=("pabee[blocks=1+2+3]",), backbone="row_mixer", dataset="digits", budget="smoke", device="cpu",
        latency_samples=4,
    )  # fmt: skip
    tables = eebench.run(spec, results=tmp_path / "results", plugins=[own], how=Execution(in_process=True))
    path = tables["curves"].attrs["path"]
    deployed = eebench.load(path, "pabee[blocks=1+2+3]", plugins=[own])
    assert type(deployed.model.backbone).__name__ == "Mixer"
    cells = {cell.name for cell in (tmp_path / "results").glob("*/cells/backbone*")}
    own.write_text(OWN.replace("nn.GELU()", "nn.ReLU()"))  # another network of that name
    eebench.run(spec, results=tmp_path / "results", plugins=[own], how=Execution(in_process=True))
    assert {cell.name for cell in (tmp_path / "results").glob("*/cells/backbone*")} > cells
