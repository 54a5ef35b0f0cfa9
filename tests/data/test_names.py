"""Names, what each expects on disk, and that looking imports nothing heavy."""

import subprocess
import sys
from pathlib import Path

import pytest

from eebench import data
from eebench.data.names import PATTERNS, parse, patch_size_for
from eebench.errors import UserError


def test_listing_and_checking_import_nothing_heavy():
    code = """
import sys
from eebench import data
data.known(); data.check("digits")
heavy = {"torch", "numpy", "timm", "torchvision", "pandas", "sklearn", "PIL", "datasets"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_known_name_parses_and_has_one_line():
    for name, text in data.known().items():
        assert text
        assert "\n" not in text
        if name not in PATTERNS:
            assert parse(name)[0]
    short = {"digits", "cifar10", "cifar100", "svhn", "food101", "imagenet", "fashion_mnist"}
    assert short < data.known().keys()
    glue = {f"glue/{t}" for t in ("cola", "sst2", "mrpc", "qqp", "stsb", "mnli", "qnli", "rte", "wnli")}
    assert glue < data.known().keys()


@pytest.mark.parametrize(
    ("name", "parsed"),
    [
        ("digits", ("digits", "")),
        ("cifar100", ("torch", "cifar100")),
        ("torch/cifar100", ("torch", "cifar100")),
        ("fashion_mnist", ("idx", "fashion_mnist")),
        ("torch/fashion_mnist", ("torch", "fashion_mnist")),
        ("hfds/org/name", ("hfds", "org/name")),
        ("hfds//some/folder", ("hfds", "/some/folder")),
        ("wds/shards", ("wds", "shards")),
        ("glue/sst2", ("glue", "sst2")),
        ("csv:a/b", ("csv", "a/b")),
        ("folder:a/b", ("folder", "a/b")),
    ],
)
def test_parse(name, parsed):
    assert parse(name) == parsed


def test_a_directory_is_an_image_folder(tmp_path):
    assert parse(str(tmp_path)) == ("folder", str(tmp_path))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("digts", "unknown data set 'digts'; did you mean 'digits'?"),
        ("cifar-100", "did you mean 'cifar100'?"),
        ("glue/sst-2", "unknown data set 'glue/sst-2'; did you mean 'glue/sst2'?"),
        ("torch/cifar1000", "did you mean 'torch/cifar100'?"),
        ("no/such/place", "neither a data set nor a directory"),
        ("csv:", "as in csv:DIR"),
        ("hfds/", "as in hfds/NAME"),
    ],
)
def test_unknown_names(name, message):
    with pytest.raises(UserError) as error:
        data.check(name)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_patch_sizes_of_small_images():
    assert [patch_size_for(side) for side in (8, 28, 32)] == [2, 4, 4]
    assert [patch_size_for(side) for side in (7, 30, 33, 64, 224)] == [None] * 5


def test_a_missing_data_directory(tmp_path):
    with pytest.raises(UserError, match=r"data directory '.*nowhere' does not exist"):
        data.check("cifar10", tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"data directory '.*file' is not a directory"):
        data.check("digits", tmp_path / "file")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cifar10", "cifar-10-batches-py"),
        ("cifar100", "cifar-100-python"),
        ("svhn", "train_32x32.mat"),
        ("food101", "food-101"),
        ("torch/mnist", "MNIST"),
        ("fashion_mnist", "train-images-idx3-ubyte.gz"),
        ("imagenet", "train/CLASS/"),
        ("torch/imagenet", "val"),
    ],
)
def test_a_missing_data_set_says_where_and_what(tmp_path, monkeypatch, name, expected):
    with pytest.raises(UserError) as error:
        data.check(name, tmp_path)
    assert str(tmp_path) in str(error.value)
    assert expected in str(error.value)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("eebench.data.disk.DEBIAN", {})
    with pytest.raises(UserError, match="data"):
        data.check(name)


def test_the_line_that_fetches_a_missing_set_is_python(tmp_path):
    with pytest.raises(UserError) as error:
        data.check("cifar100", tmp_path)
    line = str(error.value).split('python -c "')[1].removesuffix('"')
    compile(line, "fetch", "exec")
    assert f"d.CIFAR100(r'{tmp_path}', download=True)" in line


def test_some_idx_files_missing_are_named(tmp_path):
    for stem in ("train-images-idx3-ubyte", "t10k-images-idx3-ubyte"):
        (tmp_path / f"{stem}.gz").touch()
    with pytest.raises(UserError, match=r"lacks train-labels-idx1-ubyte.gz, t10k-labels-idx1-ubyte.gz"):
        data.check("fashion_mnist", tmp_path)


def test_options_that_do_not_apply(tmp_path):
    with pytest.raises(UserError, match="--target applies to csv:DIR only"):
        data.check("digits", target="rating")
    with pytest.raises(UserError, match="image size does not apply"):
        data.check(f"csv:{tmp_path}", image_size=32)
    with pytest.raises(UserError, match="not a positive number"):
        data.check("digits", image_size=0)


@pytest.mark.parametrize(
    ("name", "line"),
    [("glue/rte", "pip install 'eebench[text]'"), ("hfds/x", "pip install 'eebench[text]'"), ("wds/x", "webdataset")],
)
def test_a_missing_library_says_what_to_install(monkeypatch, name, line):
    monkeypatch.setattr("eebench.data.disk.find_spec", lambda module: None)
    with pytest.raises(UserError) as error:
        data.check(name)
    assert line in str(error.value)


def test_csv_and_folder_places(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        data.check(f"csv:{tmp_path / 'no'}")
    with pytest.raises(UserError, match=r"lacks train.csv and test.csv"):
        data.check(f"csv:{tmp_path}")
    with pytest.raises(UserError, match="has no class sub-folders"):
        data.check(f"folder:{tmp_path}")
    (tmp_path / "test" / "a").mkdir(parents=True)
    with pytest.raises(UserError, match=r"has test/ but no train/"):
        data.check(f"folder:{tmp_path}")
    for split in ("train", "val", "validation"):
        (tmp_path / split / "a").mkdir(parents=True)
    with pytest.raises(UserError, match=r"both val/ and validation/"):
        data.check(f"folder:{tmp_path}")


def test_wds_wants_its_info_file(tmp_path, monkeypatch):
    monkeypatch.setattr("eebench.data.disk.find_spec", lambda module: object())
    with pytest.raises(UserError, match=r"lacks _info.json"):
        data.check("wds/x", tmp_path)
    (tmp_path / "info.json").touch()
    data.check("wds/x", tmp_path)


def test_a_home_directory_is_understood(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "texts").mkdir()
    with pytest.raises(UserError, match="lacks"):
        data.check("csv:~/texts")
    data.check("digits", Path("~"))
