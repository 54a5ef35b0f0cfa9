"""The papers' recipes: whole, with options that exist, and with the numbers that papers and scripts have."""

import pytest
import torch

from eebench.api import ExitOutput, Features, Layout, Recipe, Task, Visit
from eebench.measure.replay import replay
from eebench.plugins.registry import Registry
from eebench_methods.pondernet.halting import QExit, median_answers

REGISTRY = Registry.installed()
METHODS = sorted(name for name, source in REGISTRY.sources.items() if source.origin.startswith("eebench "))
PAPERS = [(name, paper) for name in METHODS for paper in REGISTRY.get(name).load().papers]


def papers(name, **setting):
    found = [p for n, p in PAPERS if n == name and all(getattr(p, key) == value for key, value in setting.items())]
    assert found
    return found


@pytest.mark.parametrize(("name", "paper"), PAPERS, ids=[f"{n}-{p.modality}-{'+'.join(p.families)}" for n, p in PAPERS])
def test_a_recipe_is_whole(name, paper):
    options = ",".join(f"{key}={value}" for key, value in paper.options.items())
    (chosen,) = REGISTRY.choose(f"{name}[{options}]" if options else name)
    phases = chosen.method.phases(Task(classes=3))
    assert [phase.name for phase in phases] == list(paper.phases), "a recipe for every phase, in order"
    assert paper.source
    assert paper.families, "none of these papers' recipes is for any network"


def test_everybody_but_vit_ee_has_one():
    assert {name for name, _ in PAPERS} == set(METHODS) - {"vit_ee"}


def test_who_trained_whom():
    second_hand = {(name, paper.second_hand) for name, paper in PAPERS if paper.second_hand}
    reruns = {(name, "LGViT") for name in ("pabee", "pcee", "berxit", "sdn")}
    assert second_hand == reruns | {("pondernet", "PALBERT")}


@pytest.mark.parametrize("name", ["pabee", "pcee", "berxit", "sdn", "lgvit"])
def test_lgvits_scripts(name):
    """5e-5 and 50 epochs on ViT and DeiT (100 on Swin), AdamW without decay, linear, 3 GPUs x 64 images."""
    vit, swin = (papers(name, families=(family,), modality="vision", pretrained=True)[0] for family in ("vit", "swin"))
    for paper, own, first in ((vit, 10, 50), (swin, 50, 100)):
        expected = Recipe(epochs=first, lr=5e-5, batch_size=192, schedule="linear", clip=1.0)
        assert next(iter(paper.phases.values())) == expected
        assert (paper.backbone.epochs, paper.backbone.lr, paper.backbone.keep_best) == (own, 5e-5, True)
    if name == "lgvit":
        assert [r.epochs for r in swin.phases.values()] == [100, 50]


def test_text_recipes():
    (pabee,) = papers("pabee", modality="text")
    assert (pabee.options, pabee.backbone) == ({"last": "own"}, "untrained")
    assert pabee.phases["joint"] == Recipe(epochs=5, lr=2e-5, batch_size=32, schedule="linear", clip=1.0)
    (pcee,) = papers("pcee", modality="text")
    joint = pcee.phases["joint"]
    assert (joint.warmup_steps, joint.epochs, joint.batch_size) == (200, 15, 16)
    bert, others = papers("berxit", modality="text")
    assert [p.phases["alternating"].epochs for p in (bert, others)] == [3, 10]
    assert "roberta" in others.families
    assert bert.phases["alternating"].batch_size == 8
    for name, size in (("palbert", 32), ("pondernet", 16)):
        (paper,) = papers(name)
        ponder = paper.phases["ponder"]
        assert (ponder.patience, ponder.epochs, ponder.batch_size, ponder.lr) == (5, 25, size, 1e-5)
        assert (ponder.optimizer, ponder.schedule, ponder.weight_decay) == ("adam", "constant", 0)


def test_branchynet_is_adam_as_printed():
    (paper,) = papers("branchynet")
    joint = paper.phases["joint"]
    assert (joint.optimizer, joint.lr, joint.betas, joint.batch_size) == ("adam", 1e-3, (0.99, 0.999), 64)
    assert paper.backbone.epochs == 100


def test_sdn_steps_down():
    ramped, alone = papers("sdn", pretrained=False)
    joint, exits = ramped.phases["joint"], alone.phases["ic_only"]
    assert (ramped.options, ramped.backbone) == ({"training": "ramped"}, "untrained")
    assert (joint.optimizer, joint.lr, joint.epochs, joint.milestones) == ("sgd", 0.1, 100, (35, 60, 85))
    assert alone.backbone == joint
    assert (exits.optimizer, exits.lr, exits.epochs, exits.milestones) == ("adam", 1e-3, 25, (15,))
    assert {joint.decay, exits.decay} == {"all"}


def test_ztw_and_jei_dnn():
    (vit,) = papers("ztw", modality="vision")
    cascade, ensemble = vit.phases.values()
    assert (cascade.lr, cascade.weight_decay, cascade.epochs, cascade.batch_size) == (5e-3, 1e-4, 15, 64)
    assert (ensemble.lr, ensemble.weight_decay, ensemble.epochs) == (1e-3, 0, 2)
    sst2 = next(p for p in papers("ztw", modality="text") if p.datasets == ("sst2",))
    assert (sst2.backbone.lr, sst2.backbone.epochs, sst2.backbone.weight_decay) == (1e-5, 3, 5e-4)
    assert [r.lr for r in sst2.phases.values()] == [1e-2, 1e-1]
    (jei,) = papers("jei_dnn")
    turns = jei.phases["turns"]
    assert jei.options == {"alternate": "200"}
    assert turns.lr * turns.floor == pytest.approx(2e-4)
    assert (turns.every, turns.on("cifar100").epochs, turns.on("cifar10").epochs) == ("epoch", 29, 14)


def test_median_answers_are_the_q_exits():
    generator = torch.Generator().manual_seed(0)
    signals = 2 * torch.randn(200, 4, generator=generator) - 1
    logits = torch.randn(200, 5, 3, generator=generator)
    features = Features(torch.zeros(0, 1, 4), Layout(4))
    visits = [
        Visit(k + 1, None, features, ExitOutput(logits[:, k], signals[:, k] if k < 4 else None)) for k in range(5)
    ]
    where = replay(QExit(), {"go_on": torch.sigmoid(-signals).double().numpy()}, 0.5)
    assert len(set(where.tolist())) == 5
    torch.testing.assert_close(median_answers(visits), logits[torch.arange(200), torch.from_numpy(where)])
