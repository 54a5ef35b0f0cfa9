"""Loading checkpoints: what is taken from them, what is new, and every mishap in one line."""

import builtins
import hashlib
import json
import pickle
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

pytest.importorskip("transformers", reason="text backbones need the extra 'text'")

import huggingface_hub
from huggingface_hub import errors
from safetensors.torch import load_file, save_file
from tiny_text import FAMILIES, TEXTS, tokenizer, write
from transformers import AutoModelForSequenceClassification

from eebench.backbones.text import TextBackbone, create_text
from eebench.errors import UserError

POOLING = "pooling: the class token (the family's own)"


def head(backbone: TextBackbone) -> torch.Tensor:
    """Everything of the network that is not the encoder, as one vector."""
    base = {id(p) for p in backbone.net.base_model.parameters()}
    return torch.cat([p.detach().flatten() for p in backbone.net.parameters() if id(p) not in base])


def fails(name: Path | str, *words: str, **options) -> None:
    with pytest.raises(UserError) as caught:
        create_text(str(name), outputs=3, **options)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message, message


def edit(file: Path, **changes) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_encoder_is_the_checkpoints_and_the_classifier_new(tmp_path, family):
    folder = write(tmp_path, family)
    torch.manual_seed(1)
    first = create_text(str(folder), outputs=5)
    torch.manual_seed(2)
    second = create_text(str(folder), outputs=5)
    torch.manual_seed(1)
    third = create_text(str(folder), outputs=5)
    assert torch.equal(head(first), head(third))
    assert not torch.equal(head(first), head(second))
    assert first.prepare(TEXTS)["input_ids"].dtype == torch.int64
    assert first.plain(first.prepare(TEXTS)).shape == (4, 5)
    stored = load_file(folder / "model.safetensors")
    for name, tensor in first.net.base_model.state_dict().items():
        assert torch.equal(tensor, stored[name]), name
    assert first.notes == ("new: classifier", POOLING)
    assert first.training
    assert first.net.training


@pytest.mark.parametrize("width", [5, 2])
def test_a_fine_tuned_classifier_is_not_taken_over(tmp_path, width):
    folder = write(tmp_path / "encoder", "roberta")
    tuned = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=width)
    with torch.no_grad():
        tuned.classifier.out_proj.weight.fill_(7)
        tuned.classifier.dense.weight.fill_(7)
    tuned.save_pretrained(tmp_path / "tuned")
    tokenizer("roberta").save_pretrained(tmp_path / "tuned")
    backbone = create_text(str(tmp_path / "tuned"), outputs=5)
    weights = head(backbone)
    assert not (weights == 7).any()
    assert weights[weights != 0].std() == pytest.approx(0.3, rel=0.2)  # the configuration's initializer_range
    torch.testing.assert_close(backbone.net.base_model.state_dict(), tuned.base_model.state_dict())


def test_a_missing_pooler_is_new_and_said(tmp_path):
    folder = write(tmp_path, "bert")
    weights = load_file(folder / "model.safetensors")
    save_file({k: v for k, v in weights.items() if "pooler" not in k}, folder / "model.safetensors", {"format": "pt"})
    assert create_text(str(folder), outputs=3).notes == (
        "new: classifier and pooler (the checkpoint has none)",
        POOLING,
    )


def test_half_precision_checkpoints_become_float32(tmp_path):
    folder = write(tmp_path, "bert")
    weights = load_file(folder / "model.safetensors")
    save_file({k: v.half() for k, v in weights.items()}, folder / "model.safetensors", {"format": "pt"})
    edit(folder / "config.json", dtype="float16", torch_dtype="float16")
    backbone = create_text(str(folder), outputs=3)
    assert {p.dtype for p in backbone.parameters()} == {torch.float32}


def test_a_state_dict_without_code_in_it_is_read(tmp_path):
    folder = write(tmp_path, "bert")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    assert create_text(str(folder), outputs=3).notes == ("new: classifier", POOLING)


def test_padding_goes_behind_the_text_whatever_the_tokenizer_prefers(tmp_path):
    folder = write(tmp_path, "bert")
    edit(folder / "tokenizer_config.json", padding_side="left")
    ids = create_text(str(folder), outputs=3).prepare(TEXTS)["input_ids"]
    assert len(ids[:, 0].unique()) == 1  # the class token
    assert (ids[0] == 0).nonzero().min() > 0


class Bomb:
    """Touches a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple:
        return Path.touch, (self.target,)


def test_a_pickle_with_code_in_it_is_refused_unrun(tmp_path):
    folder = write(tmp_path / "model", "bert", weights=False)
    torch.save({"x": Bomb(tmp_path / "ran")}, folder / "pytorch_model.bin")
    fails(folder, "cannot be loaded")
    assert not (tmp_path / "ran").exists()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(tmp_path / "ran"), protocol=2))
    fails(folder, "cannot be loaded")
    assert not (tmp_path / "ran").exists()


def test_loading_is_silent_and_leaves_the_logging_as_it_was(tmp_path, capfd):
    from transformers.utils import logging

    logging.set_verbosity_info()
    try:
        create_text(str(write(tmp_path, "bert")), outputs=3)
        out, err = capfd.readouterr()
        assert logging.get_verbosity() == logging.INFO
        assert logging.is_progress_bar_enabled()
    finally:
        logging.set_verbosity_warning()
    assert "LOAD REPORT" not in out + err
    assert "Loading weights" not in out + err


def test_random_weights_only_when_asked(tmp_path):
    folder = write(tmp_path, "bert", weights=False)
    fails(folder, "has no weights")
    backbone = create_text(str(folder), outputs=3, allow_random=True)
    assert backbone.notes == ("weights: random", POOLING)
    assert backbone.own_weights is None
    assert backbone.plain(backbone.prepare(TEXTS)).shape == (4, 3)


def test_weights_are_told_by_their_content(tmp_path):
    folder = write(tmp_path, "bert")
    file = folder / "model.safetensors"
    before = create_text(str(folder), outputs=3).own_weights
    assert before == hashlib.sha256(file.read_bytes()).hexdigest()
    tensors = load_file(file)
    next(iter(tensors.values())).add_(1)
    save_file(tensors, file, metadata={"format": "pt"})
    assert create_text(str(folder), outputs=3).own_weights != before


def test_broken_folders_fail_in_one_line(tmp_path):
    fails(tmp_path / "nowhere", "no folder")
    fails("./nowhere", "no folder")
    (tmp_path / "empty").mkdir()
    fails(tmp_path / "empty", "no config.json")
    fails(write(tmp_path / "words", "bert", config_only=True), "no tokenizer")
    fails(write(tmp_path / "words-roberta", "roberta", config_only=True), "no tokenizer")
    fails(write(tmp_path / "gpt", "gpt2", weights=False), "gpt2", "no adapter", "albert, bert")
    cut = write(tmp_path / "cut", "bert")
    (cut / "model.safetensors").write_bytes((cut / "model.safetensors").read_bytes()[:2000])
    fails(cut, "cannot be loaded")
    garbled = write(tmp_path / "garbled", "bert")
    (garbled / "config.json").write_text("{no json")
    fails(garbled, "cannot be loaded")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"num_hidden_layers": 5}, "lack bert.encoder.layer.4"),
        ({"hidden_size": 64}, "have another shape"),
        ({"vocab_size": 20}, "the model only 20"),
        ({"position_embedding_type": "relative_key"}, "relative_key"),
    ],
)
def test_parts_that_do_not_fit_each_other_fail_in_one_line(tmp_path, change, words):
    folder = write(tmp_path, "bert")
    edit(folder / "config.json", **change)
    fails(folder, words)


@pytest.mark.parametrize("where", ["config.json", "tokenizer_config.json"])
def test_code_that_lies_beside_the_weights_is_neither_run_nor_asked_about(tmp_path, where, monkeypatch):
    def asked(*_):
        raise AssertionError("asked on the terminal")

    monkeypatch.setattr(builtins, "input", asked)
    folder = write(tmp_path / "model", "bert")
    marker = tmp_path / "ran"
    (folder / "own.py").write_text(f"from pathlib import Path\nPath({str(marker)!r}).touch()\n")
    if where == "config.json":
        edit(folder / where, auto_map={"AutoConfig": "own.Config", "AutoModel": "own.Model"}, model_type="own")
        fails(folder, "brings Python code of its own", "auto_map in config.json")
        edit(folder / where, model_type="bert")  # a name that transformers knows changes nothing
        fails(folder, "brings Python code of its own")
    else:
        edit(folder / where, auto_map={"AutoTokenizer": ["own.Tokens", None]}, tokenizer_class="Tokens")
        fails(folder, "brings Python code of its own", "auto_map in tokenizer_config.json")
    assert not marker.exists()


def test_a_dead_network_is_told_at_once_with_the_mend(monkeypatch):
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", _raises(ConnectionError("no route")))
    start = time.perf_counter()
    fails("eebench-tests/no-such-model", "cannot be reached", "local folder")
    assert time.perf_counter() - start < 5


def test_names_the_hub_does_not_know(monkeypatch):
    missing = errors.RepositoryNotFoundError("404", response=SimpleNamespace(headers={}, request=None))
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", _raises(missing))
    fails("eebench-tests/no-such-model", "no model", "on the hub")
    monkeypatch.undo()
    fails("not a name!", "neither a folder nor")


def test_the_hubs_cache_serves_where_there_is_no_network(tmp_path, monkeypatch):
    revision = "0" * 40
    entry = tmp_path / "models--eebench-tests--tiny"
    write(entry / "snapshots" / revision, "bert")
    (entry / "refs").mkdir()
    (entry / "refs" / "main").write_text(revision)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", _raises(ConnectionError("no route")))
    backbone = create_text("eebench-tests/tiny", outputs=3)
    assert backbone.notes[0] == "hub not reached: 'eebench-tests/tiny' from the local cache"
    assert "not known without the hub: whether 'eebench-tests/tiny' has modules.json" in backbone.notes
    assert backbone.own_weights == revision
    assert backbone.plain(backbone.prepare(TEXTS)).shape == (4, 3)


def test_without_transformers_the_extra_is_named(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "transformers":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    fails("anything", "pip install 'eebench[text]'")


def _raises(error: Exception):
    def call(*_, **__):
        raise error

    return call
