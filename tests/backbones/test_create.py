"""Backbones by name: what is known, how sizes are passed on, and each wrong name or size in one line."""

import subprocess
import sys

import pytest
import timm
import torch

from eebench.backbones import ALIASES, FAMILIES, MODEL_TYPES, OTHERS, create, known
from eebench.backbones.resnet import ResNet
from eebench.backbones.swin import Swin
from eebench.backbones.vit import ViT
from eebench.errors import UserError


def one_line(name, **options):
    with pytest.raises(UserError) as caught:
        create(name, outputs=3, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_names_are_known_without_a_library():
    heavy = {"torch", "timm", "transformers"}
    code = f"import sys, eebench.backbones as b; b.known(); sys.exit(bool({heavy} & {{*sys.modules}}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_alias_is_a_timm_model_of_a_known_family():
    for alias, full in ALIASES.items():
        assert alias in known()
        if alias != "vit_micro":
            assert timm.models.model_entrypoint(full).__module__.rpartition(".")[2] in FAMILIES
    assert {"vit_ti", "deit_b", "swin_s", "resnet50", "bert-base-uncased"} <= known().keys()


@pytest.mark.parametrize("module", FAMILIES)
def test_families_are_timms_modules(module):
    assert timm.list_models(module=module)


@pytest.mark.parametrize(
    ("name", "kind", "depth"),
    [
        ("vit_micro", ViT, 12),
        ("deit_s", ViT, 12),
        ("swin_ti", Swin, 12),
        ("resnet18", ResNet, 8),
        ("resnet50", ResNet, 16),
    ],
)
def test_sizes_channels_and_outputs_reach_the_network(name, kind, depth):
    with torch.device("meta"):
        backbone = create(name, outputs=3, image_size=32, patch_size=4, channels=1)
        assert isinstance(backbone, kind)
        assert backbone.depth == depth
        assert backbone.layouts[0].grid == ((32, 32) if kind is ResNet else (8, 8))
        assert backbone.plain(torch.empty(2, 1, 32, 32)).shape == (2, 3)


def test_a_model_with_its_tag_and_its_own_size():
    with torch.device("meta"):
        backbone = create("vit_small_patch14_dinov2.lvd142m", outputs=3)
    assert backbone.layouts[0].grid == (37, 37)


def test_fresh_weights_follow_the_seed():
    def weights(seed):
        torch.manual_seed(seed)
        return create("vit_micro", outputs=3).net.blocks[3].mlp.fc1.weight

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("vit_b16", "vit_b"),
        ("swin-ti", "swin_ti"),
        ("resnet81", "resnet18"),
        ("vit_base_patch16_225", "vit_base_patch16_224"),
        ("deit_base_destilled_patch16_224", "deit_base_distilled_patch16_224"),
    ],
)
def test_unknown_names_get_the_nearest(name, near):
    assert one_line(name) == f"unknown backbone '{name}'; did you mean '{near}'?"


def test_unknown_name_near_nothing_is_told_where_to_look():
    hint = "see eebench list backbones (a text model: its folder or hf:name)"
    assert one_line("xyzzy") == f"unknown backbone 'xyzzy'; {hint}"


def test_the_list_names_models_there_are_beside_the_aliases():
    vision, text = OTHERS
    names = vision.partition(": ")[2].rstrip(".").split(", ")
    assert len(names) == 3
    for name in names:
        assert name not in ALIASES
        with torch.device("meta"):
            assert create(name, outputs=3).depth > 1
    assert all(family in text for family in MODEL_TYPES)


def test_a_family_without_adapter_is_named():
    assert "timm's family 'convnext'" in one_line("convnext_tiny")
    message = one_line("swinv2_tiny_window8_256")
    assert "timm's family 'swin_transformer_v2'" in message
    assert message.endswith(f"adapters for any model of {', '.join(FAMILIES)}")


@pytest.mark.parametrize(("name", "patch"), [("vit_ti", 16), ("swin_ti", 4)])
def test_images_that_are_no_whole_number_of_patches(name, patch):
    message = one_line(name, image_size=70)
    assert f"70x70 pixels are no whole number of {patch}x{patch} patches" in message
    low = 70 // patch * patch
    assert f"--image-size {low} or {low + patch}" in message


def test_images_smaller_than_a_patch():
    assert "8x8 pixels are no whole number of 16x16 patches; try --image-size 16" in one_line("vit_ti", image_size=8)


def test_unknown_tag():
    message = one_line("vit_tiny_patch16_224.nonsense")
    assert "cannot be built" in message
    assert "nonsense" in message


def test_folders(tmp_path):
    assert "has no config.json" in one_line(str(tmp_path))
    pytest.importorskip("transformers", reason="text backbones need the extra 'text'")
    assert one_line(f"{tmp_path}/missing") == f"no folder '{tmp_path}/missing'"
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    assert "gpt2" in one_line(str(tmp_path))


@pytest.mark.parametrize(("option", "value"), [("pool", "mean"), ("max_length", 99)])
def test_what_is_for_text_alone(option, value):
    assert one_line("vit_ti", **{option: value}) == (
        f"--{option.replace('_', '-')} is for text; 'vit_ti' is a vision backbone"
    )


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("bert-base-uncased", True),
        ("albert-base-v2", True),
        ("roberta-large", True),
        ("xlm-roberta-base", True),
        ("distilbert-base-uncased", True),
        ("mpnet-base", True),
        ("google/bert_uncased_L-2_H-128_A-2", True),
        ("sentence-transformers/all-MiniLM-L6-v2", True),
        ("hf:prajjwal1/bert-tiny", True),
        ("./models/mine", True),
        ("beit_base_patch16_224", False),
        ("vit_ti", False),
        ("deit_tiny_patch16_224.fb_in1k", False),
    ],
)
def test_names_go_to_the_right_library(name, text, monkeypatch):
    def create_text(name, *, outputs, pool, max_tokens):
        return "text", name, outputs, pool, max_tokens

    monkeypatch.setattr("eebench.backbones.text.create_text", create_text)
    if text:
        given = create(name, outputs=4, pool="mean", max_length=99)
        assert given == ("text", name.removeprefix("hf:"), 4, "mean", 99)
    else:
        monkeypatch.setattr("eebench.backbones.vit.build", lambda full, **sizes: full)
        if name.startswith("beit"):
            assert "family 'beit'" in one_line(name)
        else:
            assert create(name, outputs=4) == ALIASES.get(name, name)
