"""A newcomer's first day: own images, own network, own method and own texts, loaded, tuned, moved elsewhere.

One folder, the commands as a person types them, from nothing to a tuned model that answers a file name. The method is
README's own example.
"""

import io
import json
import re
import shlex
import shutil
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import eebench as package
from eebench.cli import main
from eebench.data import load as load_data
from eebench.errors import UserError
from tests.backbones.tiny_text import write

README = Path(__file__).parents[2] / "README.md"
NETWORK = '''
import torch
from torch import nn
from eebench.api import Backbone, Features, Layout

class Pixels(Backbone):
    """Rows of pixels, mixed block by block."""
    name, modality, family = "pixels", "vision", "mlp"

    def __init__(self, outputs, side, depth=4):
        super().__init__()
        self.blocks = nn.ModuleList(nn.Linear(side, side) for _ in range(depth))
        self.head = nn.Linear(side, outputs)
        self.layouts = (Layout(side, grid=(side, 1), cls=False),) * depth
        self.heads = (1,) * depth
        self.image_shape = (1, side, side)

    @classmethod
    def create(cls, *, outputs, image_size=None, patch_size=None, channels=1):
        return cls(outputs, image_size)

    def embed(self, inputs):
        return Features(inputs[:, 0], self.layouts[0])

    def block(self, number, features):
        return Features(features.tokens + self.blocks[number - 1](features.tokens).relu(), self.layouts[0])

    def norm(self, features):
        return features

    def classify(self, features):
        return self.head(features.pooled)

    def plain(self, inputs):
        tokens = inputs[:, 0]
        for block in self.blocks:
            tokens = tokens + block(tokens).relu()
        return self.head(tokens.mean(1))

    def prepare(self, raw):
        return torch.stack(list(raw))
'''


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """Where it all happens: 60 small pictures of three kinds, 90 texts of two, a network and README's method."""
    desk = tmp_path_factory.mktemp("desk")
    draw = np.random.default_rng(0)
    for kind, name in enumerate(("dark", "bright", "striped")):
        (desk / "pictures" / name).mkdir(parents=True)
        for number in range(40):
            pixels = draw.integers(0, 90, (12, 12)) + 90 * min(kind, 1)
            pixels[:: 2 if kind == 2 else 13] = 255
            Image.fromarray(pixels.astype(np.uint8)).save(desk / "pictures" / name / f"{number}.png")
    words = {"good": "fine great lovely", "bad": "poor awful dull"}
    rows = [(" ".join(draw.choice(words[label].split(), 4)), label) for label in draw.choice(["good", "bad"], 120)]
    (desk / "texts").mkdir()
    for split, part in (("train", rows[:90]), ("test", rows[90:])):
        pd.DataFrame(part, columns=["text", "label"]).to_csv(desk / "texts" / f"{split}.csv", index=False)
    (desk / "pixels.py").write_text(NETWORK)
    code = re.search(
        r"<!-- example: margin.py -->\n```python\n(.*?)^```$", README.read_text(), re.DOTALL | re.MULTILINE
    )
    (desk / "margin.py").write_text(code[1])
    write(desk / "bert", "bert")
    return desk


@pytest.fixture(scope="module")
def typed(desk):
    """Type a command at the desk: exit status, standard output, standard error."""

    def run(line):
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            patch.chdir(desk)
            patch.setattr(sys, "argv", shlex.split(line))
            with pytest.raises(SystemExit) as caught:
                main()
        return caught.value.code or 0, out.getvalue(), err.getvalue()

    return run


FAST = "--budget smoke --static 1 --latency-samples 4 --device cpu"
PICTURES = f"eebench run --dataset folder:pictures --backbone pixels --plugin pixels.py --plugin margin.py {FAST}"


@pytest.fixture(scope="module")
def pictures(desk, typed):
    """The folder of the run on own pictures, with an own network and an own method."""
    status, _, err = typed(f"{PICTURES} -m margin -m pabee")
    assert status == 0, err
    (path,) = (desk / "results").glob("folder-pictures-pixels-smoke-*")
    return path


def test_what_a_plugin_promises_is_checked_first(typed):
    status, out, err = typed("eebench check --plugin margin.py")
    assert status == 0, err
    assert "margin" in out
    status, out, err = typed("eebench check --dataset folder:pictures")
    assert status == 0, err
    status, out, err = typed("eebench list backbones --plugin pixels.py")
    assert "pixels" in out


def test_own_pictures_network_and_method_make_a_report(pictures, desk):
    report = desk / "reports" / pictures.name
    page = (report / "report.html").read_text()
    assert "margin" in page
    assert str(desk) not in page, "a report names no folder of this machine"
    assert {"margin", "pabee", "static"} <= set(package.read(pictures)["operating_points"]["method"])


def test_the_same_command_again_trains_nothing(pictures, typed):
    status, _, err = typed(f"{PICTURES} -m margin -m pabee")
    assert status == 0
    assert "margin seed 0: reused" in err
    assert set(package.read(pictures)["training"]["reused"]) == {True}


def test_a_loaded_model_answers_pictures_as_the_report_says(pictures, desk):
    """Over the whole test split, from files: the score of the operating point, to the digit."""
    margin = package.load(pictures, "margin", plugins=[desk / "margin.py", desk / "pixels.py"])
    point = package.read(pictures)["operating_points"].query("method == 'margin' and kind == 'dynamic'").iloc[0]
    files = sorted((desk / "pictures").rglob("*.png"))
    name_of = {
        tensor.numpy().tobytes(): file for tensor, file in zip(margin.preprocessing.apply(files), files, strict=True)
    }
    split = load_data(f"folder:{desk / 'pictures'}").test
    tested = [name_of[image.numpy().tobytes()] for image in split.inputs]
    answers = margin(tested, point["target"])
    right = [label == file.parent.name for label, file in zip(answers.labels, tested, strict=True)]
    assert np.mean(right) == pytest.approx(point["score"])
    assert margin(Image.open(tested[0]), point["target"]).labels == answers.labels[:1]


def test_a_knob_with_a_guarantee(pictures, typed):
    tune = f"eebench tune results/{pictures.name} --method margin --plugin margin.py"
    status, out, err = typed(f"{tune} --max-drop 0.2 --json")
    assert status == 0, err
    assert json.loads(out)["method"] == "margin"


def test_it_all_works_elsewhere(pictures, desk, tmp_path, typed):
    """Another folder, and the pictures gone: what a run holds is enough."""
    moved = shutil.copytree(pictures, tmp_path / "elsewhere" / "mine")
    before = package.load(pictures, "pabee", plugins=[desk / "pixels.py"])
    after = package.load(moved, "pabee", plugins=[desk / "pixels.py"])
    picture = next((desk / "pictures").rglob("*.png"))
    target = next(iter(before.knobs))
    assert before(picture, target).labels == after(picture, target).labels
    status, _, err = typed(f"eebench report {moved} --reports {tmp_path / 'reports'}")
    assert status == 0, err
    with pytest.raises(UserError, match=r"pixels\.py"):
        package.load(moved, "pabee")  # says what is missing: the network's plugin


def test_own_texts(typed, desk):
    status, _, err = typed(f"eebench run --dataset csv:texts --backbone bert -m pabee {FAST}")
    assert status == 0, err
    (path,) = (desk / "results").glob("csv-texts-bert-smoke-*")
    shutil.move(desk / "bert", desk / "bert-is-elsewhere")
    pabee = package.load(path, "pabee")
    answer = pabee("fine great lovely fine", next(iter(pabee.knobs)))
    assert answer.labels[0] in ("good", "bad")
