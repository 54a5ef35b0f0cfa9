"""Exports of a full-size network after a real training, held against live inference on the whole test split."""

import pytest

import eebench
from eebench.deploy import Runner
from eebench.runs.agreement import agreement

NETWORKS = {
    "vit_b": {"image_size": 64, "patch_size": 16},
}


@pytest.mark.slow
@pytest.mark.parametrize("backbone", NETWORKS)
def test_lgvit_answers_as_live_inference_does(backbone, tmp_path, record_property):
    """LGViT, random weights trained for a moment: who stops where, and with which class."""
    tables = eebench.run(
        results=tmp_path / "results",
        dataset="digits",
        backbone=backbone,
        methods=("lgvit",),
        budget="smoke",
        static=(),
        targets=("macs_75", "macs_50"),
        latency_samples=2,
        latency_seconds=0.0,
        device="cpu",
        **NETWORKS[backbone],
    )
    path = tables["curves"].attrs["path"]
    eebench.export(path, "lgvit", tmp_path / "exported", target="macs_75")
    found = agreement(path, "lgvit", Runner(tmp_path / "exported"))
    record_property("agreement", str(found))
    assert found.samples == 64
    assert found.agrees
