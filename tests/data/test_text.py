"""CSV texts: classes, pairs, ratings, every way a file can be wrong; GLUE through the real library, from disk."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest

from eebench import data
from eebench.data.kinds import glue
from eebench.data.kinds.csv_texts import read_table
from eebench.data.kinds.glue import TASKS
from eebench.errors import UserError


def write(path, header, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])


def rows(n, labels=("neg", "pos"), start=0):
    return [(f'text {i}, with "quotes"\nand lines', labels[i % len(labels)]) for i in range(start, start + n)]


@pytest.fixture
def texts(tmp_path):
    write(tmp_path / "train.csv", ("text", "label"), rows(40))
    write(tmp_path / "test.csv", ("text", "label"), rows(10, start=100))
    return tmp_path


def test_classes(texts):
    found = data.load(f"csv:{texts}")
    assert (found.modality, found.image_size, found.augments) == ("text", None, False)
    assert [len(s) for s in (found.train, found.val, found.test)] == [36, 4, 10]
    assert found.task.labels == ("neg", "pos")
    assert found.task.metric == "accuracy"
    oracle = {text: ("neg", "pos").index(label) for text, label in rows(40)}
    for split in (found.train, found.val):
        assert [oracle[text] for text in split.inputs] == split.targets.tolist()
    assert set(found.train.inputs) | set(found.val.inputs) == set(oracle)
    assert found.test.inputs == [text for text, _ in rows(10, start=100)]
    assert found.test.targets.dtype == np.int64
    assert np.bincount(found.val.targets).tolist() == [2, 2]


def test_a_validation_file_is_used(texts):
    write(texts / "validation.csv", ("label", "text"), [(label, text) for text, label in rows(6, start=50)])
    found = data.load(f"csv:{texts}")
    assert [len(s) for s in (found.train, found.val, found.test)] == [40, 6, 10]
    assert found.val.inputs == [text for text, _ in rows(6, start=50)]


def test_whole_numbers_are_classes_in_their_order(tmp_path):
    for name in ("train", "test"):
        write(tmp_path / f"{name}.csv", ("text", "label"), [(f"{name} {i}", i % 12) for i in range(60)])
    assert data.load(f"csv:{tmp_path}").task.labels == tuple(str(c) for c in range(12))


def test_pairs(tmp_path):
    for name in ("train", "test"):
        write(
            tmp_path / f"{name}.csv", ("text", "text2", "label"), [(f"{name} {i}", f"b{i}", i % 2) for i in range(40)]
        )
    found = data.load(f"csv:{tmp_path}")
    assert found.test.inputs[3] == ("test 3", "b3")
    write(tmp_path / "test.csv", ("text", "label"), rows(4))
    with pytest.raises(UserError, match=r"test.csv' has no column 'text2'; it has: text, label"):
        data.load(f"csv:{tmp_path}")


def test_ratings(tmp_path):
    for name in ("train", "test"):
        ratings = [(f"{name} {i}", "x", i / 7 - 2) for i in range(40)]
        write(tmp_path / f"{name}.csv", ("text", "label", "rating"), ratings)
    found = data.load(f"csv:{tmp_path}", target="rating")
    assert (found.task.kind, found.task.outputs, found.task.metric) == ("regression", 1, "pearson_spearman")
    assert [len(s) for s in (found.train, found.val, found.test)] == [36, 4, 40]
    np.testing.assert_allclose(found.test.targets, np.arange(40) / 7 - 2, rtol=1e-6)
    assert found.train.targets.dtype == np.float32
    for text, rating in zip(found.val.inputs, found.val.targets, strict=True):
        assert rating == pytest.approx(int(text.split()[1]) / 7 - 2)


HEAD = "text,label\n"
WRONG = {
    "empty": ("", None, "is empty"),
    "blank": ("\n\n", None, "is empty"),
    "no rows": (HEAD, None, "has a header but no rows"),
    "no label column": ("text,sentiment\na,1\n", None, "has no column 'label'; it has: text, sentiment"),
    "no text column": ("sentence,label\na,1\n", None, "has no column 'text'; it has: sentence, label"),
    "no rating column": (HEAD + "a,1\n", "rating", "has no column 'rating'; it has: text, label"),
    "twice": ("text,label,label\na,1,2\n", None, "has a column twice: text, label, label"),
    "no label": (HEAD + "a,1\nb,\nc, \n", None, ", line 3, column 'label': a label is missing (and 1 more such lines)"),
    "no label after lines": (HEAD + '"a\nb",1\nb,\n', None, ", line 4, column 'label': a label is missing"),
    "one class": (HEAD + "a,1\nb,1\n", None, "only one class, '1'"),
    "no number": (HEAD + "a,1\nb,good\n", "label", ", line 3, column 'label': 'good' is not a number"),
    "no finite number": (HEAD + "a,nan\nb,2\n", "label", ", line 2, column 'label': 'nan' is not a number"),
    "number missing": (HEAD + "a,1\nb,\n", "label", ", line 3, column 'label': a number is missing"),
    "same number": (HEAD + "a,1\nb,1\n", "label", "every training sample has the same target"),
    "comma": (HEAD + "a,1\nb, c,0\n", None, ", line 3: 3 fields, the header has 2; a text with a comma needs quotes"),
    "short": (HEAD + "a,1\nb\n", None, ", line 3: 1 fields, the header has 2"),
    "open quote": (HEAD + 'a,1\n"b,0\n', None, ", line 3: unexpected end of data"),
    "NUL": (HEAD + "a,1\n\0,2\n", None, ", line 3: a NUL byte, which no text has"),
    "fractions": (
        HEAD + "".join(f"t{i},{i / 7:.3f}\n" for i in range(30)),
        None,
        ", column 'label' holds 30 different numbers such as 0.143: predict them as numbers with --target label",
    ),
    "unseen": (HEAD + "a,1\nb,2\n", None, "test.csv' has label 'neg', which train.csv never shows; it has: 1, 2"),
}


@pytest.mark.parametrize(("content", "target", "message"), WRONG.values(), ids=WRONG)
def test_errors_in_one_line(texts, content, target, message):
    (texts / "train.csv").write_text(content)
    if target:
        (texts / "test.csv").write_text(HEAD + "a,1\n" * 3)
    with pytest.raises(UserError) as error:
        data.load(f"csv:{texts}", target=target)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_other_encodings_are_said_and_a_byte_order_mark_is_not_a_column(texts):
    (texts / "train.csv").write_bytes("text,label\nPokémon,1\n".encode("latin-1"))
    with pytest.raises(UserError, match="is not UTF-8 text"):
        data.load(f"csv:{texts}")
    (texts / "bom.csv").write_text("text,label\na,1\n", encoding="utf-8-sig")
    assert read_table(texts / "bom.csv").columns == ["text", "label"]


def test_long_texts_are_read(texts):
    limit = csv.field_size_limit()
    write(texts / "train.csv", ("text", "label"), [("word " * 100_000, "neg"), *rows(30)])
    assert len(read_table(texts / "train.csv").rows[0][0]) == 500_000
    assert csv.field_size_limit() == limit


def test_few_fractions_are_classes_and_said_to_be(texts):
    for name in ("train", "test"):
        write(texts / f"{name}.csv", ("text", "label"), [(f"{name} {i}", (i % 10) / 2) for i in range(100)])
    found = data.load(f"csv:{texts}")
    assert found.task.labels[:4] == ("0.0", "0.5", "1.0", "1.5")
    assert any("such as 0.5) are taken as 10 classes; --target label predicts" in note for note in found.notes)
    assert data.load(f"csv:{texts}", target="label").task.kind == "regression"


def test_what_is_worth_knowing_is_noted(texts):
    write(texts / "test.csv", ("text", "label"), [*rows(3), ("new", "pos"), (" ", "neg")])
    write(texts / "dev.csv", ("text", "label"), rows(3))
    notes = data.load(f"csv:{texts}").notes
    assert "3 training samples left out: copies of test samples (same content)" in notes
    assert "not read: dev.csv" in notes
    assert "1 test texts are empty" in notes


def test_the_same_texts_give_the_same_split(texts):
    assert data.load(f"csv:{texts}").split_hash == data.load(f"csv:{texts}").split_hash


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """GLUE's layout on the hub (one folder of Parquet files a task), generated, in a local folder."""
    datasets = pytest.importorskip("datasets", reason="the datasets library (extra eebench[text]) is not installed")
    root = tmp_path_factory.mktemp("hub") / "glue"
    lines = ["---", "configs:"]
    for task, entry in TASKS.items():
        lines += [f"- config_name: {task}", "  data_files:"]
        names = ["entailment", "neutral", "contradiction"] if task == "mnli" else ["no", "yes"]
        label = datasets.Value("float32") if task == "stsb" else datasets.ClassLabel(names=names)
        features = datasets.Features(
            {**{c: datasets.Value("string") for c in entry.columns}, "label": label, "idx": datasets.Value("int32")}
        )
        for split, n in (("train", 60), (entry.dev, 9), ("test", 5)):
            columns = {c: [f"{task} {split} {c} {i}" for i in range(n)] for c in entry.columns}
            hidden = [-1] * n if split == "test" else [i % len(names) for i in range(n)]
            table = datasets.Dataset.from_dict({**columns, "label": hidden, "idx": list(range(n))}, features=features)
            (root / task).mkdir(parents=True, exist_ok=True)
            table.to_parquet(root / task / f"{split}.parquet")
            lines += [f"  - split: {split}", f"    path: {task}/{split}.parquet"]
    (root / "README.md").write_text("\n".join([*lines, "---", ""]))
    return root


@pytest.mark.parametrize("task", TASKS)
def test_glue(hub, task, monkeypatch, tmp_path):
    monkeypatch.setattr(glue, "REPOSITORY", str(hub))
    found = data.load(f"glue/{task}", data_dir=tmp_path)
    assert [len(s) for s in (found.train, found.val, found.test)] == [60, 4, 5]
    metrics = {"cola": "mcc", "mrpc": "accuracy_f1", "qqp": "accuracy_f1", "stsb": "pearson_spearman"}
    assert found.task.metric == metrics.get(task, "accuracy")
    assert found.task.kind == ("regression" if task == "stsb" else "classification")
    assert found.task.outputs == {"stsb": 1, "mnli": 3}.get(task, 2)
    assert found.official == {"val", "test"}
    assert "labels of GLUE's test split are not public" in found.notes[0]
    classes = 3 if task == "mnli" else 2
    for theirs, n, splits in (("train", 60, [found.train]), (TASKS[task].dev, 9, [found.val, found.test])):
        pairs = [tuple(f"{task} {theirs} {column} {i}" for column in TASKS[task].columns) for i in range(n)]
        oracle = [(pair if len(pair) == 2 else pair[0], i % classes) for i, pair in enumerate(pairs)]
        ours = [(x, y) for s in splits for x, y in zip(s.inputs, s.targets.tolist(), strict=True)]
        assert sorted(ours) == sorted(oracle)


def test_glues_halves_keep_what_shares_a_text_together():
    premises = [f"premise {i // 3}" for i in range(300)]
    hypotheses = [f"hypothesis {i}" for i in range(300)]
    hypotheses[0] = hypotheses[299].upper()  # ties the first premise to the last, whatever its case
    val, test = glue.halves([premises, hypotheses])
    assert sorted([*val, *test]) == list(range(300))
    assert 145 <= len(val) <= 150
    assert not {premises[i] for i in val} & {premises[i] for i in test}
    assert len({0, 299} & set(val.tolist())) in (0, 2)
    again = glue.halves([premises[::-1], hypotheses[::-1]])
    assert {premises[299 - i] for i in again[0]} == {premises[i] for i in val}


def test_glue_without_the_hub_names_the_way_out(monkeypatch, tmp_path):
    pytest.importorskip("datasets", reason="the datasets library (extra eebench[text]) is not installed")
    monkeypatch.setattr(glue, "REPOSITORY", str(tmp_path / "nowhere"))
    with pytest.raises(UserError) as error:
        data.load("glue/sst2", data_dir=tmp_path)
    assert "\n" not in str(error.value)
    assert str(error.value).endswith("without the hub, use csv:DIR with train.csv and test.csv (columns text,label)")


@pytest.mark.skipif("EEBENCH_REAL_DATA" not in os.environ, reason="EEBENCH_REAL_DATA names no folder of real data")
def test_real_texts():
    root = Path(os.environ["EEBENCH_REAL_DATA"])
    trec = data.load(f"csv:{root / 'trec6'}")
    assert trec.task.labels == ("ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM")
    assert len(trec.train) == pytest.approx(9 * len(trec.val), rel=0.02)
    movies = data.load(f"csv:{root / 'movie-sentiment'}", target="rating")
    assert movies.task.kind == "regression"
    assert -4 <= movies.train.targets.min() < movies.train.targets.max() <= 4
    assert data.load(f"csv:{root / 'movie-sentiment'}").task.labels == ("negative", "positive")
