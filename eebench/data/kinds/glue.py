"""The GLUE tasks (Wang et al., ICLR 2019) through the Hugging Face ``datasets`` library."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from eebench.data.kind import DataSet, Request
from eebench.errors import UserError, did_you_mean

if TYPE_CHECKING:
    import numpy as np

    from eebench.data.base import Data

__all__ = ["KIND", "TASKS", "Glue", "halves"]

REPOSITORY = "nyu-mll/glue"


@dataclass(frozen=True, slots=True)
class Entry:
    """A task (Wang et al., table 1): its columns and its metric."""

    columns: tuple[str, ...]
    metric: str = "accuracy"
    dev: str = "validation"  # the split with public labels; those of GLUE's own test split are hidden


TASKS = {
    "cola": Entry(("sentence",), "mcc"),
    "sst2": Entry(("sentence",)),
    "mrpc": Entry(("sentence1", "sentence2"), "accuracy_f1"),
    "qqp": Entry(("question1", "question2"), "accuracy_f1"),
    "stsb": Entry(("sentence1", "sentence2"), "pearson_spearman"),
    "mnli": Entry(("premise", "hypothesis"), dev="validation_matched"),
    "qnli": Entry(("question", "sentence")),
    "rte": Entry(("sentence1", "sentence2")),
    "wnli": Entry(("sentence1", "sentence2")),
}


class Glue(DataSet):
    """The GLUE tasks, each scored by its own metric on one half of its dev split, knobs chosen on the other half."""

    name = "glue/TASK"
    modality = "text"
    library = ("datasets", "eebench[text]")
    caches = True

    def names(self) -> dict[str, str]:
        return {f"glue/{t}": f"GLUE {t}, {' + '.join(e.columns)}; metric {e.metric}" for t, e in TASKS.items()}

    def find(self, name: str) -> str | None:
        prefix, slash, task = name.partition("/")
        if prefix != "glue" or not slash:
            return None
        if task not in TASKS:
            raise UserError(f"unknown data set '{name}'{did_you_mean(name, self.names())}")
        return task

    def load(self, request: Request) -> Data:
        """One task. GLUE's dev split, whose labels are public, is parted into validation and test.

        GLUE's training split is of another make (SST-2's are phrases of sentences, and those of one sentence would lie
        in training and validation both; QNLI's, MNLI's and RTE's share paragraphs and premises), so that a knob chosen
        on a part of it would not hold on dev.

        Raises:
            UserError: the hub cannot be reached, or does not have the task as expected.
        """
        import numpy as np

        from eebench.api import Task
        from eebench.data.hub import load_dataset
        from eebench.data.texts import text_data

        entry = TASKS[request.key]
        instead = "use csv:DIR with train.csv and test.csv (columns text,label)"
        found = load_dataset(request.name, REPOSITORY, request.key, request.data_dir, instead=instead)
        if entry.metric == "pearson_spearman":
            task = Task(kind="regression", classes=1, metric=entry.metric)
        else:
            names = tuple(found["train"].features["label"].names)
            task = Task(classes=len(names), metric=entry.metric, labels=names)
        dtype = np.float32 if task.kind == "regression" else np.int64
        texts, targets = {}, {}
        for split, theirs in (("train", "train"), ("dev", entry.dev)):
            texts[split] = _texts(found[theirs], entry.columns)
            targets[split] = np.asarray(found[theirs]["label"][:], dtype=dtype)
        dev, labels = texts.pop("dev"), targets.pop("dev")
        parted = halves([list(found[entry.dev][column]) for column in entry.columns])
        for split, ids in zip(("val", "test"), parted, strict=True):
            texts[split], targets[split] = [dev[i] for i in ids], labels[ids]
        note = (
            f"GLUE's {entry.dev} split is parted into validation ({len(texts['val']):,}) and test "
            f"({len(texts['test']):,}), as the labels of GLUE's test split are not public: figures are not those of "
            "papers that score the whole of it"
        )
        return text_data(request, texts, targets, task, [note])


def halves(columns: Sequence[Sequence[str]]) -> tuple[np.ndarray, np.ndarray]:
    """Two halves of a split, as positions in ascending order, no text in both.

    Samples that share a text (a premise with its three hypotheses), directly or over others, stay together. Which half
    a group goes to depends on the texts alone: groups are taken in order of a hash until half of the samples are.

    Args:
        columns: the texts, a column of N strings each.
    """
    import numpy as np
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    from eebench.data.texts import normal

    count = len(columns[0])
    nodes: dict[str, int] = {}
    cells = [[nodes.setdefault(normal(text), len(nodes)) for text in column] for column in columns]
    first = np.array(cells[0])
    edges = np.concatenate([np.stack([first, column]) for column in cells], axis=1)
    graph = coo_array((np.ones(edges.shape[1]), edges), shape=(len(nodes), len(nodes)))
    _, group_of_text = connected_components(graph, directed=False)
    hashes = np.array([hashlib.sha256(text.encode()).hexdigest() for text in nodes])
    smallest: dict[int, str] = {}
    for group, digest in zip(group_of_text.tolist(), hashes.tolist(), strict=True):
        smallest[group] = min(digest, smallest.get(group, digest))
    groups = group_of_text[first]
    sizes = np.bincount(groups, minlength=len(smallest))
    order = sorted(smallest, key=lambda group: smallest[group])
    taken = np.cumsum(sizes[order]) <= count // 2
    chosen = np.isin(groups, np.array(order)[taken])
    return np.flatnonzero(chosen), np.flatnonzero(~chosen)


def _texts(table: Any, columns: tuple[str, ...]) -> list[Any]:
    """Strings, or pairs of strings where the task has two columns."""
    cells = [list(table[column]) for column in columns]
    return cells[0] if len(cells) == 1 else list(zip(*cells, strict=True))


KIND = Glue()
