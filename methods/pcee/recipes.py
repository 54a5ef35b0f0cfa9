"""How PCEE-BERT was trained: by its authors on text, by LGViT's on images."""

from eebench.api import PaperRecipe
from eebench_methods.reruns import lgvit_reruns, trainer_recipe

__all__ = ["PAPERS"]

PAPERS = (
    PaperRecipe(
        phases={"joint": trainer_recipe(epochs=15, lr=2e-5, batch_size=16, warmup_steps=200)},
        source="michael-wzhu/PCEE-BERT, the MRPC script",
        modality="text",
        pretrained=True,
        families=("bert",),
        backbone="untrained",
    ),
    *lgvit_reruns("joint"),
)
