"""How Zero Time Waste was trained by its authors: on an ImageNet ViT as it comes, and on BERT fine-tuned before."""

from eebench.api import PaperRecipe, Recipe

__all__ = ["PAPERS"]


def _adamw(epochs: int, lr: float, batch_size: int, weight_decay: float) -> Recipe:
    """The scripts' ``adam`` is AdamW over all parameters, with a cosine a batch."""
    return Recipe(epochs=epochs, lr=lr, batch_size=batch_size, weight_decay=weight_decay, decay="all")


def _bert(lr: float, batch_size: int, epochs: int, dataset: str) -> PaperRecipe:
    return PaperRecipe(
        phases={"cascade": _adamw(5, 1e-2, 32, 1e-4), "ensemble": _adamw(5, 1e-1, 32, 0.0)},
        source=f"gmum/Zero-Time-Waste, ztw_nlp/scripts/ztw_bert_{dataset}.py",
        modality="text",
        pretrained=True,
        families=("bert",),
        datasets=(dataset,),
        backbone=_adamw(epochs, lr, batch_size, 5e-4),
    )


PAPERS = (
    PaperRecipe(
        phases={"cascade": _adamw(15, 5e-3, 64, 1e-4), "ensemble": _adamw(2, 1e-3, 64, 0.0)},
        source="gmum/Zero-Time-Waste, ztw_cv/scripts/ztw_vit.py",
        modality="vision",
        pretrained=True,
        families=("vit",),
    ),
    _bert(2e-5, 16, 5, "rte"),
    _bert(2e-5, 16, 5, "mrpc"),
    _bert(1e-5, 16, 3, "sst2"),
    _bert(5e-5, 32, 3, "qqp"),
    _bert(1e-5, 16, 3, "qnli"),
)
