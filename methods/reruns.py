"""Recipes of one paper's scripts for other papers' methods: LGViT's comparisons, trained in transformers' Trainer."""

from __future__ import annotations

from collections.abc import Mapping

from eebench.api import PaperRecipe, Recipe

__all__ = ["lgvit_reruns", "trainer_recipe"]


def trainer_recipe(
    *, epochs: int, lr: float, batch_size: int, warmup_steps: int = 0, keep_best: bool = False
) -> Recipe:
    """What transformers' scripts do unless told otherwise: AdamW, no decay, linear to 0, gradients clipped to 1."""
    return Recipe(
        epochs=epochs,
        lr=lr,
        batch_size=batch_size,
        schedule="linear",
        warmup_steps=warmup_steps,
        clip=1.0,
        keep_best=keep_best,
    )


def lgvit_reruns(
    *phases: str,
    last: int = 50,
    second_hand: str | None = "LGViT",
    options: Mapping[str, str] | None = None,
) -> tuple[PaperRecipe, PaperRecipe]:
    """How LGViT's authors trained this method on ViT and DeiT, and on Swin: 5e-5, three GPUs with 64 images each.

    The backbone's own stage has 10 epochs on ViT and DeiT and 50 on Swin, the best one kept; the exits' first stage
    50 and 100. Source: repository falcon-xu/LGViT, scripts/train_base_*.sh and train_baseline_*.sh, which set BERxiT
    and LGViT; for the others "other hyperparameters unchanged" (its README) leaves them as they are.

    Args:
        phases: the method's phases, in order.
        last: epochs of every phase after the first.
        second_hand: whose recipe it is; None for LGViT's own.
        options: of the method.
    """

    def recipe(family: str, script: str, own: int, first: int) -> PaperRecipe:
        epochs = [first, *([last] * (len(phases) - 1))]
        return PaperRecipe(
            phases={
                name: trainer_recipe(epochs=count, lr=5e-5, batch_size=192)
                for name, count in zip(phases, epochs, strict=True)
            },
            source=f"falcon-xu/LGViT, scripts/train_*_{script}.sh",
            second_hand=second_hand,
            modality="vision",
            pretrained=True,
            families=(family,),
            options=options or {},
            backbone=trainer_recipe(epochs=own, lr=5e-5, batch_size=192, keep_best=True),
        )

    return recipe("vit", "deit", 10, 50), recipe("swin", "swin", 50, 100)
