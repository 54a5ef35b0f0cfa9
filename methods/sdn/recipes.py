"""How SDN was trained: by its authors on ResNets from nothing, by LGViT's on pre-trained transformers."""

from eebench.api import PaperRecipe, Recipe
from eebench_methods.reruns import lgvit_reruns

__all__ = ["PAPERS"]

_SGD = Recipe(
    epochs=100,
    lr=0.1,
    batch_size=128,
    optimizer="sgd",
    momentum=0.9,
    weight_decay=1e-4,
    decay="all",
    schedule="step",
    milestones=(35, 60, 85),
)
_ADAM = Recipe(
    epochs=25,
    lr=1e-3,
    batch_size=128,
    optimizer="adam",
    weight_decay=1e-4,
    decay="all",
    schedule="step",
    milestones=(15,),
)


def _own(phase: str, recipe: Recipe, training: str, *, alone: bool) -> PaperRecipe:
    return PaperRecipe(
        phases={phase: recipe},
        source="yigitcankaya/Shallow-Deep-Networks, network_architectures.py",
        modality="vision",
        pretrained=False,
        families=("resnet",),
        options={"training": training},
        backbone=_SGD if alone else "untrained",
    )


PAPERS = (
    _own("joint", _SGD, "ramped", alone=False),
    _own("ic_only", _ADAM, "ic_only", alone=True),
    *lgvit_reruns("joint", options={"training": "weighted"}),
)
