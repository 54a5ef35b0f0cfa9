"""How PALBERT was trained by its authors."""

from eebench.api import PaperRecipe, Recipe

__all__ = ["PAPERS"]

PAPERS = (
    PaperRecipe(
        phases={"ponder": Recipe(epochs=25, lr=1e-5, batch_size=32, optimizer="adam", schedule="constant", patience=5)},
        source="tinkoff-ai/palbert, README and src/train.py",
        modality="text",
        pretrained=True,
        families=("albert",),
        backbone="untrained",
    ),
)
