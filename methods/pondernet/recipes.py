"""How PonderNet was trained on a pre-trained transformer: by PALBERT's authors, as the comparison."""

from eebench.api import PaperRecipe, Recipe

__all__ = ["PAPERS"]

PAPERS = (
    PaperRecipe(
        phases={"ponder": Recipe(epochs=25, lr=1e-5, batch_size=16, optimizer="adam", schedule="constant", patience=5)},
        source="tinkoff-ai/palbert, README and src/train.py",
        second_hand="PALBERT",
        modality="text",
        pretrained=True,
        families=("albert",),
        backbone="untrained",
    ),
)
