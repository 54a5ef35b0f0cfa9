"""timm's factory and torchvision: real classes on generated files in their own formats; no download, ever."""

import gzip
import io
import json
import pickle
import tarfile
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.io
import timm.data
import torch
import torchvision.datasets as tv

from eebench import data
from eebench.data.kinds.torchvision_images import _torch_labels, _torch_targets
from eebench.errors import UserError

from .test_idx import write as write_idx
from .test_images import fill, picture


@pytest.fixture
def cifar(tmp_path, monkeypatch):
    """CIFAR-10 in its own file format, generated; its published checksums are taken out of torchvision's class."""
    for attribute in ("train_list", "test_list"):
        monkeypatch.setattr(tv.CIFAR10, attribute, [[name, None] for name, _ in getattr(tv.CIFAR10, attribute)])
    monkeypatch.setattr(tv.CIFAR10, "meta", {**tv.CIFAR10.meta, "md5": None})
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    rng, made = np.random.default_rng(0), {}
    for name, _ in [*tv.CIFAR10.train_list, *tv.CIFAR10.test_list]:
        made[name] = rng.integers(0, 256, (20, 3072), dtype=np.uint8)
        content = {"data": made[name], "labels": [i % 10 for i in range(20)]}
        (folder / name).write_bytes(pickle.dumps(content))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": [f"class {c}" for c in range(10)]}))
    return tmp_path, made


@pytest.mark.parametrize("name", ["cifar10", "torch/cifar10"])
def test_cifar(cifar, name):
    root, made = cifar
    found = data.load(name, data_dir=root)
    assert (found.name, found.image_size, found.patch_size, found.channels) == (name, 32, 4, 3)
    assert [len(s) for s in (found.train, found.val, found.test)] == [90, 10, 20]
    assert found.task.labels[3] == "class 3"
    assert np.array_equal(found.test.inputs.pixels.flatten(1).numpy(), made["test_batch"])
    assert found.augment == "crop+mirror"
    assert found.train.inputs.augmentation.mirrors
    assert found.train.inputs[0].shape == (3, 32, 32)


def test_damaged_cifar_is_said_with_the_line_that_fetches_it(cifar):
    root, _ = cifar
    (root / "cifar-10-batches-py" / "data_batch_3").unlink()
    with pytest.raises(UserError, match=r"not found or damaged: expected .*cifar-10-batches-py.*download=True"):
        data.load("cifar10", data_dir=root)


def test_checksums_are_torchvisions(tmp_path):
    (tmp_path / "cifar-100-python").mkdir()
    for name in ("train", "test", "meta"):
        (tmp_path / "cifar-100-python" / name).write_bytes(b"not what was published")
    with pytest.raises(UserError, match="'cifar100' not found or damaged"):
        data.load("cifar100", data_dir=tmp_path)


def test_svhn_is_never_mirrored(tmp_path, monkeypatch):
    files = {split: [url, name, None] for split, (url, name, _) in tv.SVHN.split_list.items()}
    monkeypatch.setattr(tv.SVHN, "split_list", files)
    pixels = {}
    for split, n in (("train", 100), ("test", 20)):
        pixels[split] = np.random.default_rng(n).integers(0, 256, (32, 32, 3, n), dtype=np.uint8)
        labels = (np.arange(n) % 10 + 1)[:, None]  # SVHN calls the digit 0 ten
        scipy.io.savemat(tmp_path / f"{split}_32x32.mat", {"X": pixels[split], "y": labels})
    found = data.load("svhn", data_dir=tmp_path)
    assert [len(s) for s in (found.train, found.val, found.test)] == [90, 10, 20]
    assert found.test.targets[:10].tolist() == [*range(1, 10), 0]
    assert np.array_equal(found.test.inputs.pixels.numpy(), pixels["test"].transpose(3, 2, 0, 1))
    assert found.augment == "crop"
    assert not found.train.inputs.augmentation.mirrors
    assert found.task.labels == tuple("0123456789")


def test_food101_is_read_as_needed(tmp_path):
    meta = tmp_path / "food-101" / "meta"
    meta.mkdir(parents=True)
    for split, numbers in (("train", range(10)), ("test", range(10, 14))):
        (meta / f"{split}.json").write_text(
            json.dumps({c: [f"{c}/{i}" for i in numbers] for c in ("apple_pie", "waffles")})
        )
    for c, name in enumerate(("apple_pie", "waffles")):
        (tmp_path / "food-101" / "images" / name).mkdir(parents=True)
        for i in range(14):
            picture(20 * c + i).save(tmp_path / "food-101" / "images" / name / f"{i}.jpg")
    found = data.load("food101", data_dir=tmp_path)
    assert (found.image_size, found.patch_size, found.augments) == (224, None, True)
    assert [len(s) for s in (found.train, found.val, found.test)] == [18, 2, 8]
    assert found.task.labels == ("apple_pie", "waffles")
    assert found.test.inputs[0].shape == (3, 224, 224)
    (tmp_path / "food-101" / "images" / "apple_pie" / "10.jpg").write_text("no image")
    with pytest.raises(UserError, match=r"10.jpg. cannot be read"):
        found.test.inputs[0]


def test_mnist_through_torchvision_equals_mnist_from_its_files(tmp_path):
    write_idx(tmp_path / "MNIST" / "raw", packed=False)
    theirs, ours = data.load("torch/mnist", data_dir=tmp_path), data.load("mnist", data_dir=tmp_path)
    assert theirs.split_hash == ours.split_hash
    for split in ("train", "val", "test"):
        a, b = getattr(theirs, split), getattr(ours, split)
        assert torch.equal(torch.stack(list(a.inputs)), torch.stack(list(b.inputs)))
        assert np.array_equal(a.targets, b.targets)


def test_what_timms_factory_is_asked_for(tmp_path, monkeypatch):
    calls = []

    def create_dataset(name, **options):
        calls.append((name, options))
        return SimpleNamespace(targets=[0, 1] * 20, classes=["a", "b"], of=options["split"])

    monkeypatch.setattr(timm.data, "create_dataset", create_dataset)
    first = {"train": 0, "validation": 100}
    module = "eebench.data.kinds.torchvision_images"
    monkeypatch.setattr(f"{module}._torch_image", lambda dataset, i: picture(i + first[dataset.of]))
    for path in ("places365_train_standard.txt", "places365_val.txt"):
        (tmp_path / path).touch()
    found = data.load("torch/places365", data_dir=tmp_path)
    common = {"root": str(tmp_path), "download": False}
    assert calls == [
        ("torch/places365", {**common, "split": "train"}),
        ("torch/places365", {**common, "split": "validation"}),
    ]
    assert "the validation split serves as the test set: no other has public labels" in found.notes
    assert [len(s) for s in (found.train, found.val, found.test)] == [36, 4, 40]


def test_targets_and_labels_under_all_of_torchvisions_names():
    def values(**attributes):
        return _torch_targets(SimpleNamespace(**attributes)).tolist()

    assert values(targets=[1, 2]) == values(labels=np.array([1, 2])) == values(_labels=[1, 2]) == [1, 2]
    assert values(targets=torch.tensor([[3, 9, 9], [4, 9, 9]])) == [3, 4]
    assert values(index=[(5, "x.jpg"), (6, "y.jpg")]) == [5, 6]
    some = np.array([0, 2])
    assert _torch_labels(SimpleNamespace(classes=[("tench", "Tinca tinca"), ("goldfish",)]), some) == [
        "tench",
        "goldfish",
    ]
    assert _torch_labels(SimpleNamespace(all_categories=["a", "b"]), some) == ["a", "b"]
    assert _torch_labels(SimpleNamespace(), some) == ["0", "1", "2"]


def test_hub_layout_in_a_local_folder(tmp_path):
    pytest.importorskip("datasets", reason="the datasets library (extra eebench[text]) is not installed")
    fill(tmp_path / "set" / "train", ["cat", "dog"], 20)
    fill(tmp_path / "set" / "test", ["cat", "dog"], 4, mode="L")
    found = data.load(f"hfds/{tmp_path / 'set'}", data_dir=tmp_path / "cache", image_size=16)
    assert [len(s) for s in (found.train, found.val, found.test)] == [36, 4, 8]
    assert found.task.labels == ("cat", "dog")
    assert found.test.inputs[7].shape == (3, 16, 16)
    image = found.test.inputs.source.read(6)
    assert np.array_equal(np.asarray(image)[..., 0], np.asarray(picture(102, mode="L")))
    assert found.test.targets.tolist() == [0] * 4 + [1] * 4


def test_hub_sets_without_what_is_needed(monkeypatch):
    hub = pytest.importorskip("datasets", reason="the datasets library (extra eebench[text]) is not installed")
    texts = hub.Dataset.from_dict({"text": ["a"]})
    monkeypatch.setattr(hub, "load_dataset", lambda *args, **options: hub.DatasetDict(train=texts))
    with pytest.raises(UserError, match="lacks an image or a class column; it has: text"):
        data.load("hfds/org/texts")
    monkeypatch.setattr(hub, "load_dataset", lambda *args, **options: hub.DatasetDict(all=texts))
    with pytest.raises(UserError, match="has no split 'train'; it has: all"):
        data.load("hfds/org/texts")

    def unreachable(*args, **options):
        raise ConnectionError("Couldn't reach 'org/texts' on the Hub\nand more lines")

    monkeypatch.setattr(hub, "load_dataset", unreachable)
    with pytest.raises(UserError) as error:
        data.load("hfds/org/texts")
    assert str(error.value) == (
        "data set 'hfds/org/texts' could not be loaded (ConnectionError: Couldn't reach 'org/texts' on the Hub); "
        "without the hub, use folder:DIR with your own images"
    )


def shards(root, counts, target=lambda i: ("cls", str(i % 2).encode())):
    """WebDataset shards with timm's info file."""
    info = {"name": "tiny", "splits": {}}
    for split, n in counts.items():
        with tarfile.open(root / f"{split}-0.tar", "w") as tar:
            for i in range(n):
                buffer = io.BytesIO()
                picture(i).save(buffer, "png")
                for suffix, content in (("png", buffer.getvalue()), target(i)):
                    member = tarfile.TarInfo(f"{i:04}.{suffix}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
        files = [f"{split}-0.tar"]
        info["splits"][split] = {"name": split, "num_samples": n, "filenames": files, "shard_lengths": [n]}
    (root / "_info.json").write_text(json.dumps(info))
    return info


def test_webdataset_shards(tmp_path):
    info = shards(tmp_path, {"train": 40, "validation": 10})
    found = data.load("wds/tiny", data_dir=tmp_path, image_size=16)
    assert [len(s) for s in (found.train, found.val)] == [27, 3]  # ten are copies of what serves as the test set
    assert sum(found.copies.values()) == 10
    assert found.test.targets.tolist() == [0, 1] * 5
    for i in range(10):
        assert np.array_equal(np.asarray(found.test.inputs.source.read(i)), np.asarray(picture(i)))
    train = found.train.inputs
    assert [i % 2 for i in train.ids] == found.train.targets.tolist()
    assert pickle.loads(pickle.dumps(train.source.read))(int(train.ids[5])).tobytes() == picture(train.ids[5]).tobytes()
    info["splits"]["train"]["num_samples"] = 41
    (tmp_path / "_info.json").write_text(json.dumps(info))
    with pytest.raises(UserError, match="promises 41 train samples; the shards hold 40"):
        data.load("wds/tiny", data_dir=tmp_path)


def test_webdataset_agrees_with_the_library(tmp_path):
    wds = pytest.importorskip("webdataset", reason="the webdataset library is not installed")
    shards(tmp_path, {"train": 40, "test": 10})
    found = data.load("wds/tiny", data_dir=tmp_path, image_size=16)
    theirs = list(wds.WebDataset(str(tmp_path / "test-0.tar"), shardshuffle=False))
    assert [int(sample["cls"]) for sample in theirs] == found.test.targets.tolist()
    assert [sample["png"] for sample in theirs] == [found.test.inputs.source.raw(i) for i in range(10)]


def test_webdataset_shards_that_are_damaged(tmp_path):
    shards(tmp_path, {"train": 40, "test": 10})
    whole = (tmp_path / "test-0.tar").read_bytes()

    def fails(content, message):
        (tmp_path / "test-0.tar").write_bytes(content)
        with pytest.raises(UserError, match=message) as error:
            data.load("wds/tiny", data_dir=tmp_path, image_size=16)
        assert "\n" not in str(error.value)

    fails(whole[:5000], "test-0.tar' cannot be read: unexpected end of data|the shards hold 1")
    fails(gzip.compress(whole), "test-0.tar' cannot be read")
    fails(whole.replace(b"0003.cls", b"0003.txt"), "sample '0003' of shard .* lacks a target")
    fails(whole.replace(b"\x89PNG", b"\x00PNG", 2), r"number 0' cannot be read: .* \(and 1 more\)")
    (tmp_path / "test-0.tar").unlink()
    with pytest.raises(UserError, match=r"test-0.tar' cannot be read: .*No such file"):
        data.load("wds/tiny", data_dir=tmp_path, image_size=16)


def test_webdataset_targets_in_json(tmp_path):
    info = shards(tmp_path, {"train": 60, "test": 10}, lambda i: ("json", json.dumps({"kind": i % 3 - 1}).encode()))
    for split in info["splits"].values():
        split["alt_label"] = "kind"
    info["splits"]["train"]["num_samples"], info["splits"]["test"]["num_samples"] = 40, 6  # -1: unlabelled, skipped
    (tmp_path / "_info.json").write_text(json.dumps(info))
    found = data.load("wds/tiny", data_dir=tmp_path, image_size=16)
    assert found.test.targets.tolist() == [0, 1] * 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not an info file"),
        ("[]", "is not an info file"),
        ('{"splits": {"train": {}}}', "KeyError: 'num_samples'"),
        ('{"splits": {"test": {"num_samples": 3, "filenames": []}}}', "has no training samples; its splits: test"),
    ],
)
def test_webdataset_info_files(tmp_path, content, message):
    (tmp_path / "_info.json").write_text(content)
    with pytest.raises(UserError, match=message):
        data.load("wds/tiny", data_dir=tmp_path)
