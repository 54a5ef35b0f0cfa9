"""``--budget paper``: a recipe where its setting fits, a note where not, and what was typed is never ignored."""

import dataclasses

import pytest
from safetensors.torch import load_file

from eebench.api import PaperRecipe, Recipe, Task
from eebench.data.base import Split
from eebench.errors import UserError
from eebench.plugins.registry import Registry
from eebench.progress import Reporter
from eebench.runs.prepare import prepare
from eebench.runs.recipes import Setting, fit_papers
from eebench.runs.spec import make_spec
from eebench.runs.store import Store
from eebench.runs.workshop import Workshop

TASK = Task(classes=3)
BERT = Setting("text", True, "bert", "trec6")
VIT = Setting("vision", True, "vit", "cifar10")
REGISTRY = Registry.installed()


def fit(text, setting):
    return fit_papers(REGISTRY.choose(text), REGISTRY, setting, TASK)


@pytest.mark.parametrize(
    ("asked", "setting", "label", "words"),
    [
        ("pabee", BERT, "pabee[last=own]", "own (JetRunner/PABEE"),
        ("pabee[last=own]", BERT, "pabee[last=own]", "own (JetRunner/PABEE"),
        ("pabee[patience=3]", BERT, "pabee[last=own,patience=3]", "own (JetRunner/PABEE"),
        ("pabee[last=backbone]", BERT, "pabee[last=backbone]", "none: its recipe from JetRunner/PABEE, README goes wi"),
        ("pabee", VIT, "pabee", "second-hand, LGViT's (falcon-xu/LGViT, scripts/train_*_deit.sh)"),
        ("lgvit", VIT, "lgvit", "own (falcon-xu/LGViT"),
        ("sdn", VIT, "sdn", "second-hand, LGViT's"),
        ("sdn[training=ic_only]", VIT, "sdn[training=ic_only]", "none: its recipe from falcon-xu/LGViT"),
        ("berxit", VIT, "berxit[exit=confidence]", "second-hand, LGViT's"),
        ("vit_ee", VIT, "vit_ee", "none: no recipe is known; the common recipe"),
        ("pabee", dataclasses.replace(VIT, pretrained=False), "pabee", "none: its recipes are for pre-trained text"),
        ("palbert", BERT, "palbert", "none: its recipes are for pre-trained text backbones (albert)"),
        ("jei_dnn", VIT, "jei_dnn[alternate=200]", "own (networkslab/dynn"),
        ("ztw[ensemble=false]", VIT, "ztw[ensemble=false]", "own (gmum/Zero-Time-Waste"),
        ("ztw", BERT, "ztw", "none: its recipes are for"),
        ("ztw", dataclasses.replace(BERT, dataset="sst2"), "ztw", "own (gmum/Zero-Time-Waste, ztw_nlp"),
        (
            "sdn",
            Setting("vision", False, "resnet", "cifar10"),
            "sdn[training=ramped]",
            "own (yigitcankaya/Shallow-Deep-Networks",
        ),
        (
            "sdn[training=ic_only]",
            Setting("vision", False, "resnet", "cifar10"),
            "sdn[training=ic_only]",
            "own (yigitcankaya/Shallow-Deep-Networks",
        ),
    ],
)
def test_whose_recipe_trains_a_method(asked, setting, label, words):
    (one,) = fit(asked, setting)
    assert one.chosen.label == label
    assert one.words.startswith(words)
    assert (one.paper is None) == words.startswith("none")


def test_two_methods_that_the_recipe_makes_one():
    with pytest.raises(UserError, match=r"--budget paper makes pabee\[last=own\] of two methods"):
        fit("pabee,pabee[last=own]", BERT)


PLUGIN = '''
from dataclasses import dataclass

from eebench.api import Method, PaperRecipe, Phase, Recipe, inner_blocks, only
from eebench.parts import LinearExit, joint_loss
from eebench.rules import Confidence


def paper(backbone, **options):
    first = Recipe(epochs=2, lr=2e-3, batch_size=8, epochs_on={"digits": 1})
    second = Recipe(epochs=4, lr=1e-3, batch_size=8, schedule="step", milestones=(1, 2))
    return (
        PaperRecipe(
            phases={"first": first, "second": second},
            source="a script",
            modality="vision",
            pretrained=False,
            families=("vit",),
            options=options,
            backbone=backbone,
        ),
    )


@dataclass(frozen=True)
class Shared(Method):
    """Starts from the run's own backbone."""

    name = "shared"
    papers = paper("trained")

    deep: bool = False

    def build(self, backbone, task):
        return {k: LinearExit(backbone.layouts[k - 1], task.outputs) for k in (4, 8)}

    def rule(self, task):
        return Confidence()

    def phases(self, task):
        loss = lambda step: joint_loss(step, [1.0] * len(step.visits))
        exits = {"trains": only("exits."), "share": 0.5}
        return [Phase("first", loss, lr_scale=10.0, **exits), Phase("second", loss, **exits)]


class Fresh(Shared):
    """Starts from the starting weights."""

    name = "fresh"
    papers = paper("untrained", deep="true")


class Own(Shared):
    """Starts from a backbone of its own."""

    name = "own"
    papers = paper(Recipe(epochs=1, lr=1e-3, batch_size=16, keep_best=True))


class Two(Own):
    """Starts from the same backbone as the one before."""

    name = "two"
'''


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    path = tmp_path_factory.mktemp("plugin") / "recipes_of_papers.py"
    path.write_text(PLUGIN)
    return Registry.installed([path])


def prepared_for(registry, methods="shared", **values):
    spec = make_spec(methods=methods, dataset="digits", budget="paper", device="cpu", **values)
    prepared = prepare(spec, registry)
    few = prepared.data.train
    prepared.data.train = Split([few.inputs[i] for i in range(32)], few.targets[:32])
    return prepared


def recipes(prepared):
    (chosen,) = prepared.methods
    return [recipe for _, recipe in prepared.recipes(chosen, chosen.method.phases(prepared.data.task), 64)]


def test_the_papers_recipe_is_used(registry):
    first, second = recipes(prepared_for(registry))
    assert (first.epochs, first.lr, first.batch_size) == (1, 2e-3, 8), "one epoch on digits"
    assert (second.epochs, second.milestones) == (4, (1, 2))


def test_what_is_asked_for_is_never_ignored(registry):
    prepared = prepared_for(registry, epochs=16, lr=1e-4, batch_size=4)
    first, second = recipes(prepared)
    assert [r.epochs for r in (first, second)] == [8, 8]
    assert [r.lr for r in (first, second)] == pytest.approx([1e-3, 1e-4]), "the phases' rates as under every budget"
    assert [r.batch_size for r in (first, second)] == [4, 4]
    assert second.milestones == (2, 4), "in proportion"
    assert "--epochs 16, --lr 0.0001, --batch-size 4 instead of the papers' own for shared" in prepared.notes


def test_a_recipe_that_does_not_fit_is_replaced_with_a_note(registry):
    prepared = prepared_for(registry, "pabee,vit_ee,shared", epochs=2)
    notes = [note for note in prepared.notes if "paper" in note]
    assert notes[0].startswith("pabee has no paper's recipe here (its recipes are for pre-trained text backbones (alb")
    assert notes[1] == "vit_ee has no paper's recipe here (no recipe is known; the common recipe trains it)"
    assert prepared.whose("shared") == "own (a script)"
    pabee = prepared.methods[0]
    (recipe,) = (r for _, r in prepared.recipes(pabee, pabee.method.phases(prepared.data.task), 64))
    common = prepared.common_recipe(64)
    assert (recipe.epochs, recipe.optimizer, recipe.lr, recipe.clip) == (2, "adamw", common.lr, 1.0)


def test_other_budgets_know_no_papers(registry):
    spec = make_spec(methods="shared", dataset="digits", budget="smoke", device="cpu")
    prepared = prepare(spec, registry)
    assert prepared.whose("shared") == "the common recipe"
    assert prepared.backbone_stage(prepared.methods[0]) == "trained"


def test_what_a_method_starts_from(registry, tmp_path):
    """The exits alone are trained, so that the backbone in a method's cell is still the one it started from."""
    prepared = prepared_for(registry, "shared,fresh,own,two", epochs=1, batch_size=16)
    assert [chosen.label for chosen in prepared.methods] == ["shared", "fresh[deep=true]", "own", "two"]
    workshop = Workshop(prepared, Store(tmp_path, "run"), Reporter(quiet=True))
    base = workshop.backbone(0)
    cells = {chosen.method.name: workshop.method(chosen, 0, base) for chosen in prepared.methods}
    backbones = [cell for cell in (tmp_path / "run" / "cells").iterdir() if cell.name.startswith("backbone-")]
    (other,) = (cell for cell in backbones if cell.name != base.id)

    def trunk(path):
        tensors = load_file(path / "weights.safetensors")
        return {name: value for name, value in tensors.items() if name.startswith("backbone.")}

    def same(a, b):
        return all(a[name].equal(b[name]) for name in a)

    shared, fresh, own, two = (trunk(cells[name].path) for name in ("shared", "fresh", "own", "two"))
    assert same(shared, trunk(base.path))
    assert same(own, trunk(other))
    assert same(two, own)
    assert not same(own, shared)
    import torch

    torch.manual_seed(0)
    start = {f"backbone.{name}": value for name, value in prepared.backbone().state_dict().items()}
    assert same(fresh, start)
    assert not same(fresh, shared)


def test_a_paper_recipe_is_frozen():
    paper = PaperRecipe(phases={}, source="", modality="text", pretrained=True)
    with pytest.raises(dataclasses.FrozenInstanceError):
        paper.source = "x"
    assert isinstance(paper.backbone, str | Recipe)
