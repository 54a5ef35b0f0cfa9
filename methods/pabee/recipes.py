"""How PABEE was trained: by its authors on text, by LGViT's on images."""

from eebench.api import PaperRecipe
from eebench_methods.reruns import lgvit_reruns, trainer_recipe

__all__ = ["PAPERS"]

PAPERS = (
    PaperRecipe(
        phases={"joint": trainer_recipe(epochs=5, lr=2e-5, batch_size=32)},
        source="JetRunner/PABEE, README",
        modality="text",
        pretrained=True,
        families=("albert", "bert"),
        options={"last": "own"},
        backbone="untrained",
    ),
    *lgvit_reruns("joint"),
)
