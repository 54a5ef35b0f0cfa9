"""Weights files: what is read from a good one, and every broken one in one line."""

import argparse
import hashlib
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from eebench.backbones.checkpoint import read_weights, some, weights_sha256
from eebench.errors import UserError


def tensors():
    return {"head.weight": torch.arange(60.0).view(3, 20), "head.bias": torch.ones(3)}


def fault(path):
    """The one line a user sees."""
    with pytest.raises(UserError) as caught:
        read_weights(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", ["safetensors", "named otherwise", "zip", "legacy"])
def test_both_kinds_are_read_whatever_their_name(kind, tmp_path):
    path = tmp_path / ("w.safetensors" if kind == "safetensors" else "w.bin")
    if kind in ("zip", "legacy"):
        torch.save(tensors(), path, _use_new_zipfile_serialization=kind == "zip")
    else:
        save_file(tensors(), path, metadata={"format": "pt"})
    state = read_weights(path)
    assert {key: value.tolist() for key, value in state.items()} == {k: v.tolist() for k, v in tensors().items()}


def test_wrappers_are_taken_off_however_deep_and_other_entries_dropped(tmp_path):
    torch.save({"state_dict": {"model": {**tensors(), "epoch": 3}}, "lr": 0.1}, tmp_path / "w.pt")
    assert read_weights(tmp_path / "w.pt").keys() == tensors().keys()


def test_files_that_are_no_weights(tmp_path):
    text = tmp_path / "w.safetensors"
    text.write_text("these are words, no tensors")
    assert fault(text) == f"weights '{text}' are not a safetensors file"
    other = tmp_path / "w.bin"
    other.write_text("these are words, no tensors")
    assert fault(other) == f"weights '{other}' are neither a safetensors file nor a torch checkpoint"
    empty = tmp_path / "e.safetensors"
    empty.touch()
    assert fault(empty) == f"weights '{empty}' are an empty file"
    broken = tmp_path / "b.safetensors"
    broken.write_bytes(struct.pack("<Q", 10) + b"{not json}")
    assert "its header cannot be read" in fault(broken)


@pytest.mark.parametrize("share", [0.99, 0.5, 0.05])
@pytest.mark.parametrize("kind", ["safetensors", "pt"])
def test_files_cut_short(kind, share, tmp_path):
    path = tmp_path / f"w.{kind}"
    if kind == "pt":
        torch.save(tensors(), path)
    else:
        save_file(tensors(), path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    assert "cut short" in fault(path)


def test_pickle_that_asks_for_more_than_tensors_is_refused(tmp_path):
    path = tmp_path / "w.pth"
    torch.save({"model": tensors(), "args": argparse.Namespace(lr=1)}, path)
    message = fault(path)
    assert "asks for argparse.Namespace" in message
    assert "safetensors" in message


def test_pickle_does_not_run(tmp_path):
    class Bomb:
        def __reduce__(self):
            return Path.touch, (tmp_path / "ran",)

    torch.save({"w": Bomb()}, tmp_path / "w.pth")
    fault(tmp_path / "w.pth")
    assert not (tmp_path / "ran").exists()


def test_checkpoint_without_tensors(tmp_path):
    torch.save({"epoch": 3, "loss": 0.5}, tmp_path / "w.pth")
    assert fault(tmp_path / "w.pth").endswith("hold no tensors by name, but epoch, loss")
    torch.save([torch.zeros(3)], tmp_path / "l.pth")
    assert fault(tmp_path / "l.pth").endswith("hold no tensors by name, but a list")


def test_missing_file_and_directory(tmp_path):
    assert fault(tmp_path / "no.safetensors").startswith(f"there is no weights file '{tmp_path}/no.safetensors'")
    assert "are a directory" in fault(tmp_path)
    with pytest.raises(UserError, match="there is no weights file"):
        weights_sha256(tmp_path / "no.safetensors")


def test_sha256_is_the_files(tmp_path):
    path = tmp_path / "w.safetensors"
    save_file(tensors(), path)
    assert weights_sha256(path) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_some_names_the_first_and_counts_the_rest():
    assert some("abc") == "a, b, c"
    assert some("abcde") == "a, b, c and 2 more"
    assert some([]) == ""
