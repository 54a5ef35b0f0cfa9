"""The frozen description of a run: what it takes, what it refuses, and the names that follow from it."""

import math

import pytest

from eebench.errors import UserError
from eebench.runs.spec import BUDGETS, RunSpec, make_spec


def refused(**values):
    with pytest.raises(UserError) as caught:
        make_spec(**values)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"thresholds": ()}, "--thresholds: must not be empty"),
        ({"thresholds": (0.5, math.nan)}, "--thresholds: must be finite numbers"),
        ({"thresholds": (0.5, 0.5)}, "--thresholds: names something twice"),
        ({"seeds": ()}, "--seeds: must not be empty"),
        ({"seeds": (0, 0)}, "--seeds: names something twice"),
        ({"seeds": (-1,)}, "--seeds: must not be negative"),
        ({"seeds": (1.5,)}, "--seeds: "),
        ({"seeds": ("x",)}, "--seeds: "),
        ({"methods": ()}, "--methods: must not be empty"),
        ({"latency_batch_sizes": (1, 0)}, "--latency-batch-sizes: must be at least 1"),
        ({"latency_batch_sizes": ()}, "--latency-batch-sizes: must not be empty"),
        ({"latency_samples": 0}, "--latency-samples: "),
        ({"budget": "huge"}, "--budget: "),
        ({"epochs": 0}, "--epochs: "),
        ({"batch_size": -3}, "--batch-size: "),
        ({"lr": 0.0}, "--lr: "),
        ({"lr": math.inf}, "--lr: "),
        ({"lr": math.nan}, "--lr: "),
        ({"image_size": 0}, "--image-size: "),
        ({"patch_size": 0}, "--patch-size: "),
        ({"threads": 0}, "--threads: "),
        ({"colour": "red"}, "--colour: "),
    ],
)
def test_what_is_refused(values, words):
    assert refused(**values).startswith(words)


def test_a_spec_is_frozen():
    with pytest.raises(ValueError, match="frozen"):
        make_spec().seeds = (1,)


def test_none_stands_for_the_default():
    assert make_spec(lr=None, backbone=None) == RunSpec()


def test_whatever_changes_a_result_changes_the_hash():
    base = make_spec()
    assert make_spec().sha256 == base.sha256
    changes = {
        "methods": ("pabee",),
        "backbone": "vit_ti",
        "dataset": "mnist",
        "seeds": (1,),
        "budget": "smoke",
        "weights": "timm",
        "data_dir": "d",
        "target": "t",
        "image_size": 16,
        "patch_size": 4,
        "thresholds": (0.5,),
        "lr": 0.1,
        "batch_size": 8,
        "epochs": 3,
        "device": "cpu",
        "threads": 2,
        "latency_batch_sizes": (1, 8),
        "latency_samples": 9,
    }
    assert changes.keys() <= RunSpec.model_fields.keys()
    hashes = {make_spec(**{name: value}).sha256 for name, value in changes.items()}
    assert len(hashes | {base.sha256}) == len(changes) + 1


@pytest.mark.parametrize(
    ("values", "start"),
    [
        ({}, "mnist5k-vit_micro-quick-"),
        ({"dataset": "folder:/some/where/pets/", "backbone": "hf:google/bert"}, "pets-bert-quick-"),
        ({"dataset": "glue/sst2", "backbone": "/models/mine", "budget": "smoke"}, "sst2-mine-smoke-"),
        ({"dataset": "csv:reviews"}, "csv-reviews-vit_micro-quick-"),
    ],
)
def test_a_run_is_named_readably_then_by_its_hash(values, start):
    spec = make_spec(**values)
    assert spec.run_name.startswith(start)
    assert spec.run_name.endswith(spec.sha256[:8])
    assert "/" not in spec.run_name


def test_budgets():
    quick = BUDGETS["quick"]
    assert quick.epochs(1200, pretrained=False) == 40
    assert quick.method_epochs(1200, pretrained=False) == 20
    assert quick.epochs(3_305, pretrained=False) == 20
    assert quick.epochs(1_000_000, pretrained=False) == 2
    assert quick.epochs(1_000, pretrained=True) == 16
    assert quick.method_epochs(1_000, pretrained=True) == 16
    assert BUDGETS["smoke"].epochs(50, pretrained=False) == 1
    assert BUDGETS["smoke"].warning
    assert BUDGETS["standard"].scratch > quick.scratch


def test_values_as_python_has_them_at_hand(tmp_path):
    spec = make_spec(methods="pabee,lgvit", seeds=3, data_dir=tmp_path, latency_batch_sizes=8, thresholds=0.5)
    assert (spec.methods, spec.seeds, spec.data_dir) == (("pabee,lgvit",), (3,), str(tmp_path))
    assert (spec.latency_batch_sizes, spec.thresholds) == ((8,), (0.5,))


def test_every_field_says_what_it_means():
    assert all(len(field.description or "") > 8 for field in RunSpec.model_fields.values())
