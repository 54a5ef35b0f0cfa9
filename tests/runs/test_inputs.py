"""Inputs as the starting weights know them: whose mean and deviation, in the data and in what the run says."""

import json

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from eebench import data
from eebench.api import Task
from eebench.backbones.weights import input_statistics
from eebench.data.base import Data, Split
from eebench.errors import UserError
from eebench.plugins.registry import Registry
from eebench.runs.inputs import normalised
from eebench.runs.prepare import prepare
from eebench.runs.spec import RunSpec

HALF = (0.5, 0.5, 0.5)
IMAGENET = (0.485, 0.456, 0.406)


@pytest.mark.parametrize(
    ("name", "mean"),
    [("vit_ti", HALF), ("vit_base_patch16_224.augreg_in1k", HALF), ("deit_s", IMAGENET), ("swin_ti", IMAGENET),
     ("resnet50", IMAGENET), ("vit_small_patch14_dinov2", IMAGENET)],
)  # fmt: skip
@pytest.mark.parametrize("weights", ["timm", "my.safetensors"])
def test_timms_configuration_of_the_model_is_asked(name, mean, weights):
    found = input_statistics(name, weights)
    assert found is not None
    assert found[0] == mean
    assert len(found[1]) == 3
    assert found[2].startswith("timm's configuration of ")


def test_nobody_is_asked_from_scratch_and_nobody_knows_what_is_not_timms():
    assert input_statistics("vit_ti", "none") is None
    assert input_statistics("vit_micro", "my.safetensors") is None
    assert input_statistics("bert-base-uncased", "none") is None


def test_a_configuration_beside_the_file_is_stronger(tmp_path):
    file = tmp_path / "model.safetensors"
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"pretrained_cfg": {"mean": [0.1, 0.2, 0.3], "std": [1, 1, 1]}}))
    assert input_statistics("vit_ti", file) == ((0.1, 0.2, 0.3), (1, 1, 1), f"'{config}'")
    config.write_text(json.dumps({"architectures": ["Other"]}))
    assert input_statistics("vit_ti", file)[0] == HALF
    config.write_text("{no json")
    with pytest.raises(UserError, match=r"config.json' beside the weights cannot be read"):
        input_statistics("vit_ti", file)


def test_images_are_normalised_as_the_weights_were_trained():
    digits = data.load("digits")
    again, said = normalised(digits, "vit_ti", "timm")
    raw = digits.test.inputs[5] * torch.tensor(digits.preprocessing.std) + torch.tensor(digits.preprocessing.mean)
    expected = (raw / digits.preprocessing.white - 0.5) / 0.5
    assert again.channels == 3
    torch.testing.assert_close(again.test.inputs[5], expected.expand(3, -1, -1), atol=1e-5, rtol=1e-5)
    statistics, source = "mean 0.5 0.5 0.5, std 0.5 0.5 0.5", "timm's configuration of vit_tiny_patch16_224"
    assert said == [f"inputs normalised as the weights were trained: {statistics} ({source})"]
    assert normalised(digits, "vit_ti", "none") == (digits, [])


def test_data_that_do_not_say_how_they_were_made_stay_as_they_are():
    split = Split([torch.zeros(3, 8, 8)] * 4, np.arange(4) % 2)
    mine = Data("mine", "vision", Task(classes=2), split, split, split)
    same, said = normalised(mine, "vit_ti", "timm")
    assert same is mine
    assert said[0].startswith("inputs as they are, not normalised as the weights were trained: ")


def test_a_run_from_weights_sees_their_statistics_and_its_cells_have_other_names(tmp_path):
    torch.manual_seed(0)
    file = tmp_path / "w.safetensors"
    save_file(timm.create_model("vit_tiny_patch16_224", num_classes=0).state_dict(), file)

    def prepared(**changes):
        spec = RunSpec(methods=("sdn",), backbone="vit_ti", dataset="digits", budget="smoke", **changes)
        return prepare(spec, Registry.installed([]))

    scratch, trained = prepared(), prepared(weights=str(file))
    assert (scratch.data.channels, trained.data.channels) == (1, 3)
    assert trained.data.preprocessing.mean == HALF
    assert scratch.data.preprocessing.mean != HALF
    assert any("mean 0.5 0.5 0.5" in line for line in trained.weight_lines)
    assert trained.backbone().net.patch_embed.proj.in_channels == 3
    before = trained.cell_id("sdn", 0, "")
    (tmp_path / "config.json").write_text(json.dumps({"pretrained_cfg": {"mean": IMAGENET, "std": HALF}}))
    assert prepared(weights=str(file)).cell_id("sdn", 0, "") != before


def test_pooling_and_length_of_text_are_settled_and_name_the_cells(tmp_path):
    pytest.importorskip("transformers", reason="text backbones need the extra 'text'")
    from tiny_text import LONG, TEXTS, write

    model = write(tmp_path / "model", "bert")
    (model / "1_Pooling").mkdir()
    (model / "1_Pooling" / "config.json").write_text('{"pooling_mode_mean_tokens": true}')
    rows = [f"{text},{label}" for label, text in enumerate(TEXTS[:2])] * 20 + [f"{LONG},0"] * 3
    (tmp_path / "csv").mkdir()
    for split in ("train", "test"):
        varied = [f"word{i} {split} {row}" for i, row in enumerate(rows)]  # copies would be left out
        (tmp_path / "csv" / f"{split}.csv").write_text("\n".join(["text,label", *varied]))

    def prepared(**changes):
        spec = RunSpec(methods=("sdn",), backbone=str(model), dataset=f"csv:{tmp_path / 'csv'}", **changes)
        return prepare(spec, Registry.installed([]))

    found = {name: prepared(**changes) for name, changes in CHANGES.items()}
    assert [p.pool for p in found.values()] == ["mean", "cls", "mean"]
    assert [p.max_tokens for p in found.values()] == [48, 48, 12]
    assert len({p.cell_id("sdn", 0, "") for p in found.values()}) == 3
    assert found["short"].backbone().max_tokens == 12
    assert any("3 of 43 test texts truncated to 12 tokens" in line for line in found["short"].weight_lines)
    with pytest.raises(UserError, match="--max-length: 99 is more than the 48 tokens"):
        prepared(max_length=99)


CHANGES = {"stored": {}, "forced": {"pool": "cls"}, "short": {"max_length": 12}}
