"""The hub's weights: out of reach, in the cache, or not there at all."""

import socket

import pytest
import timm
import torch
from safetensors.torch import save_file

from eebench.backbones import create
from eebench.backbones.weights import load_weights
from eebench.errors import UserError


def offline(monkeypatch, cache):
    def no_network(*args, **kwargs):
        raise OSError("no network in tests")

    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))


def test_hub_out_of_reach_is_one_line_with_the_other_choices(monkeypatch, tmp_path):
    offline(monkeypatch, tmp_path)
    backbone = create("vit_ti", outputs=3, image_size=32)
    with pytest.raises(UserError) as caught:
        load_weights(backbone, "timm", name="vit_ti")
    message = str(caught.value)
    assert message.startswith("the hub's weights for 'vit_ti' cannot be fetched (")
    assert "--weights none" in message
    assert "--weights PATH" in message
    assert "\n" not in message


def test_hub_out_of_reach_but_cached(monkeypatch, tmp_path):
    offline(monkeypatch, tmp_path)
    torch.manual_seed(5)
    hub = timm.create_model("vit_tiny_patch16_224")
    repository = timm.models.get_pretrained_cfg("vit_tiny_patch16_224").hf_hub_id
    folder = tmp_path / f"models--{repository.replace('/', '--')}"
    (folder / "snapshots" / "abc").mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("abc")
    save_file(hub.state_dict(), folder / "snapshots" / "abc" / "model.safetensors")
    backbone = create("vit_ti", outputs=3, image_size=32)
    lines = load_weights(backbone, "timm", name="vit_ti")
    assert "from the local cache" in lines[0]
    assert lines[1:] == ["resized position embeddings: 14x14 -> 2x2", "left new: head.bias, head.weight"]
    assert torch.equal(backbone.net.blocks[11].mlp.fc2.weight, hub.blocks[11].mlp.fc2.weight)


@pytest.mark.parametrize("name", ["vit_micro", "vit_base_patch16_18x2_224"])
def test_models_the_hub_has_nothing_for(name):
    with pytest.raises(UserError, match=f"no weights for '{name}'; use --weights none"):
        load_weights(create("vit_micro", outputs=2), "timm", name=name)
