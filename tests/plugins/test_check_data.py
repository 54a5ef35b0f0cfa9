"""A data set that breaks a promise is told which, in words."""

import pytest
from typer.testing import CliRunner

from eebench import data
from eebench.cli import app
from eebench.plugins.check_data import check_data

TEMPLATE = '''
import numpy as np, torch
from eebench.api import Task
from eebench.data import Data, DataSet, Split

class Inputs:
    """Noise, shifted at random in training."""
    calls = 0
    def __init__(self, seed, n, random):
        self.pixels = torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
        self.random, self.entropy = random, (0, 0)
    def set_epoch(self, seed, epoch):
        self.entropy = (seed, epoch)
    def __len__(self):
        return len(self.pixels)
    def __getitem__(self, i):
        Inputs.calls += 1
        rng = np.random.default_rng([*self.entropy, i])
        return self.pixels[i].roll(int(rng.integers(0, 8)), -1) if self.random else self.pixels[i]

class Mine(DataSet):
    """Noise of one's own."""
    name = "mine"
    def load(self, request):
        def split(seed, n, random=False):
            return Split(Inputs(seed, n, random), np.arange(n, dtype=np.int64) % 2)
        return Data("mine", "vision", Task(classes=2), split(1, 30, True), split(2, 10), split(3, 10),
                    split_hash="x", augment="roll", image_size=8, channels=1)
'''

BROKEN = {
    "holds": ("", "", None),
    "unseeded": ("rng = np.random.default_rng([*self.entropy, i])", "rng = np.random.default_rng(Inputs.calls)",
                 "training inputs are not a function of (seed, epoch, position)"),
    "undeclared": ('augment="roll"', 'augment="none"', "inputs change from epoch to epoch, but augment says 'none'"),
    "declared in vain": ("int(rng.integers(0, 8))", "1", "training inputs never change, but augment says 'roll'"),
    "evaluation": ("split(2, 10)", "split(2, 10, True)", "val changes from epoch to epoch: only training inputs may"),
    "leak": ("split(2, 10)", "split(3, 10)", "10 validation samples are test samples as well"),
    "size": ("image_size=8", "image_size=9", "float32 (1, 9, 9)"),
    "other samples": ("manual_seed(seed)", "manual_seed(torch.seed() % 2**32)", "loaded twice, it holds other samples"),
    "finite": ("manual_seed(seed))", "manual_seed(seed)) / 0", "values that are not finite"),
    "raises": ("rng = np.random", "raise OSError('no\\nroll')\n        rng = np.random", "OSError: no roll"),
}  # fmt: skip


@pytest.mark.parametrize(("old", "new", "message"), BROKEN.values(), ids=BROKEN)
def test_each_promise(tmp_path, old, new, message):
    path = tmp_path / "mine.py"
    assert old in TEMPLATE
    path.write_text(TEMPLATE.replace(old, new))
    findings = check_data("mine", plugins=[path])
    said = [finding.words for finding in findings if finding.status == "broken"]
    assert any(message in words for words in said) if message else not said
    result = CliRunner().invoke(app, ["check", "--dataset", "mine", "--plugin", str(path)])
    assert result.exit_code == (1 if message else 0)
    assert len(result.output.splitlines()) >= len(findings)


@pytest.mark.parametrize("name", ["digits", "mnist5k"])
def test_the_embedded_data_sets_keep_their_promises(name):
    assert [finding for finding in check_data(name) if finding.status == "broken"] == []


def test_your_texts_and_images(tmp_path):
    from tests.data.test_images import fill
    from tests.data.test_text import rows, write

    write(tmp_path / "train.csv", ("text", "label"), rows(40))
    write(tmp_path / "test.csv", ("text", "label"), rows(10, start=100))
    fill(tmp_path / "images", ["a", "b"], 20)
    for name in (f"csv:{tmp_path}", f"folder:{tmp_path / 'images'}"):
        assert all(finding.status == "holds" for finding in check_data(name)), name
    assert data.known()["digits"]
