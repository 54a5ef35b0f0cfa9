"""How BERxiT was trained: by its authors on text, by LGViT's on images."""

from eebench.api import PaperRecipe
from eebench_methods.reruns import lgvit_reruns, trainer_recipe

__all__ = ["PAPERS"]


def _own(epochs: int, *families: str) -> PaperRecipe:
    return PaperRecipe(
        phases={"alternating": trainer_recipe(epochs=epochs, lr=2e-5, batch_size=8)},
        source="castorini/berxit, scripts/train_highway.sh",
        modality="text",
        pretrained=True,
        families=families,
        backbone="untrained",
    )


PAPERS = (
    _own(3, "bert"),
    _own(10, "roberta", "albert", "distilbert"),
    *lgvit_reruns("alternating", options={"exit": "confidence"}),
)
