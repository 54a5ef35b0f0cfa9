"""Under ``--budget paper``: which paper's recipe fits the run, and what the record says of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from eebench.api import PaperRecipe, Phase, Recipe, Task
from eebench.errors import UserError
from eebench.plugins.chosen import Chosen, split_list
from eebench.plugins.registry import Registry

__all__ = ["COMMON", "Fitted", "Setting", "Tuned", "fit_papers"]

COMMON = "the common recipe"


@dataclass(frozen=True)
class Tuned:
    """What a search changes of a method and its recipes."""

    lr: float = 1.0  # factor on every phase's learning rate
    backbone_lr_scale: float | None = None  # None: the recipe's own
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, params: Mapping[str, Any]) -> Tuned:
        """From a trial's parameters."""
        options = {key: value for key, value in params.items() if key not in ("lr", "backbone_lr_scale")}
        return cls(params.get("lr", 1.0), params.get("backbone_lr_scale"), options)

    def recipe(self, recipe: Recipe) -> Recipe:
        """A phase's recipe as it is tried."""
        scale = recipe.backbone_lr_scale if self.backbone_lr_scale is None else self.backbone_lr_scale
        return replace(recipe, lr=recipe.lr * self.lr, backbone_lr_scale=scale)

    @property
    def code(self) -> str:
        """What a cell's name depends on."""
        return json.dumps(asdict(self), sort_keys=True)


@dataclass(frozen=True)
class Setting:
    """What a run is about, as far as a recipe cares."""

    modality: str
    pretrained: bool
    family: str
    dataset: str


@dataclass(frozen=True)
class Fitted:
    """A method as it is trained: with the options that belong to its paper's recipe, if one fits."""

    chosen: Chosen
    paper: PaperRecipe | None
    words: str  # whose recipe it is, for the record


def fit_papers(methods: Sequence[Chosen], registry: Registry, setting: Setting, task: Task) -> list[Fitted]:
    """For each method the first of its papers' recipes that fits; none where none does.

    Raises:
        UserError: the recipes' options make one method of two that were asked for.
    """
    fitted = [_fit(chosen, registry, setting, task) for chosen in methods]
    labels = [one.chosen.label for one in fitted]
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        raise UserError(f"--budget paper makes {', '.join(twice)} of two methods that were asked for; ask for one")
    return fitted


def _fit(chosen: Chosen, registry: Registry, setting: Setting, task: Task) -> Fitted:
    here = [paper for paper in chosen.method.papers if _suits(paper, setting)]
    reasons = []
    for paper in here:
        other = {key: value for key, value in paper.options.items() if _typed(chosen).get(key, value) != value}
        if other:
            wanted = ", ".join(f"{key}={value}" for key, value in other.items())
            reasons.append(f"its recipe from {paper.source} goes with {wanted}")
            continue
        own = _with(chosen, paper, registry)
        foreign = [phase.name for phase in _phases(own, task) if phase.name not in paper.phases]
        if foreign:
            reasons.append(f"its recipe from {paper.source} does not know the phase '{foreign[0]}'")
            continue
        whose = "own" if paper.second_hand is None else f"second-hand, {paper.second_hand}'s"
        return Fitted(own, paper, f"{whose} ({paper.source})")
    if not reasons and chosen.method.papers:
        settings = list(dict.fromkeys(map(_described, chosen.method.papers)))
        reasons.append(f"its recipes are for {'; '.join(settings)}")
    return Fitted(chosen, None, f"none: {reasons[0] if reasons else 'no recipe is known'}; {COMMON}")


def _suits(paper: PaperRecipe, setting: Setting) -> bool:
    return (
        (paper.modality, paper.pretrained) == (setting.modality, setting.pretrained)
        and (not paper.families or setting.family in paper.families)
        and (not paper.datasets or setting.dataset in paper.datasets)
    )


def _described(paper: PaperRecipe) -> str:
    start = "pre-trained" if paper.pretrained else "untrained"
    families = f" ({', '.join(paper.families)})" if paper.families else ""
    return f"{start} {paper.modality} backbones{families}"


def _typed(chosen: Chosen) -> dict[str, str]:
    """Options as they stand in the label."""
    inside = chosen.label.partition("[")[2].removesuffix("]")
    return dict(item.split("=", 1) for item in split_list(inside))


def _with(chosen: Chosen, paper: PaperRecipe, registry: Registry) -> Chosen:
    """The method with the recipe's options in its label; as it is where they are its defaults."""
    options = {**paper.options, **_typed(chosen)}
    if not paper.options:
        return chosen
    name = chosen.label.partition("[")[0]
    (own,) = registry.choose(f"{name}[{','.join(f'{key}={value}' for key, value in options.items())}]")
    return chosen if own.method == chosen.method else own


def _phases(chosen: Chosen, task: Task) -> Sequence[Phase]:
    return chosen.method.phases(task)
