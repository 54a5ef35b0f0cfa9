"""How JEI-DNN was trained by its authors, on T2T-ViT-14 with ImageNet weights."""

from dataclasses import replace

from eebench.api import PaperRecipe, Recipe

__all__ = ["PAPERS"]

_SGD = Recipe(epochs=14, lr=0.01, batch_size=64, optimizer="sgd", momentum=0.9, weight_decay=5e-4, decay="all")

PAPERS = (
    PaperRecipe(
        phases={
            "warm-up": replace(_SGD, epochs=1, schedule="constant"),
            "turns": replace(_SGD, floor=0.02, every="epoch", epochs_on={"cifar100": 29}),
        },
        source="networkslab/dynn, src/runs.txt and src/train_dynn.py",
        modality="vision",
        pretrained=True,
        families=("vit",),
        options={"alternate": "200"},
    ),
)
