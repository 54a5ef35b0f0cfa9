"""How BranchyNet was trained: B-ResNet-110, the network of the paper that eebench has a relative of."""

from eebench.api import PaperRecipe, Recipe

__all__ = ["PAPERS"]

_ADAM = Recipe(epochs=100, lr=1e-3, batch_size=64, optimizer="adam", betas=(0.99, 0.999), schedule="constant")

PAPERS = (
    PaperRecipe(
        phases={"joint": _ADAM},
        source="paper, section IV; epochs and batch from kunglab/branchynet",
        modality="vision",
        pretrained=False,
        families=("resnet",),
        backbone=_ADAM,
    ),
)
