"""A training that was cut off goes on bit for bit, wherever it was cut off and whatever it depends on."""

import math
import random
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from eebench.api import Phase, Recipe, Task, only
from eebench.data.base import Split
from eebench.engine.checkpoint import Checkpoints, random_state, restore_random_state
from eebench.engine.features import FeatureCache
from eebench.engine.model import EarlyExitModel
from eebench.engine.requests import Requests, requests
from eebench.engine.train import fit
from eebench.parts import LinearExit, joint_loss
from eebench.testing import tiny_backbone, tiny_data

CPU = torch.device("cpu")
TASK = Task(classes=3)


class CutError(BaseException):
    """As a kill: nothing catches it."""


class Dropped(LinearExit):
    def __init__(self, layout, outputs):
        super().__init__(layout, outputs, norm=True)
        self.pooler = nn.Dropout(0.3)
        self.register_buffer("weight_of_loss", torch.ones(()))


def model_of(kind="vit"):
    torch.manual_seed(0)
    backbone = tiny_backbone(kind, TASK.classes, 3)
    return EarlyExitModel(backbone, {b: Dropped(backbone.layouts[b - 1], 3) for b in range(1, backbone.depth)})


def joint(step):
    """Random numbers of all three kinds take part, as a method may draw from any."""
    weights = [1.0 + 0.1 * np.random.rand() + 0.1 * random.random() for _ in step.visits]  # noqa: NPY002
    return joint_loss(step, weights)


class Random(list):
    """Inputs that are another picture every time they are looked at, by torch's own random numbers."""

    def __getitem__(self, index):
        return super().__getitem__(index) + 0.1 * torch.randn(1, 8, 12)


class Loaded(Sequence):
    """Inputs that torch's DataLoader fetches, which draws a random number whenever it starts on an epoch."""

    def __init__(self, inputs):
        self.inputs = inputs

    def __len__(self):
        return len(self.inputs)

    def __getitem__(self, index):
        return self.inputs[index] + 0.1 * torch.randn(1, 8, 12)


def reweigh(visits, targets):
    """What changes at the end of an epoch lives in a buffer."""
    for visit in visits[:-1]:
        visit.head.weight_of_loss.mul_(1.1)


def weighed(step):
    heads = [visit.head for visit in step.visits[:-1]]
    return joint(step) * torch.stack([head.weight_of_loss for head in heads]).mean()


RECIPE = Recipe(epochs=3, batch_size=16, lr=1e-2, weight_decay=0.05, warmup=0.1, clip=1.0)


def change(**changes):
    return Recipe(**{"epochs": 3, "batch_size": 16, "lr": 1e-2, **changes})


CASES = {
    "dropout, everything trained": {},
    "batch norm": {"kind": "resnet"},
    "text": {"kind": "text"},
    "frozen backbone": {"phase": Phase("p", joint, trains=only("exits."))},
    "frozen backbone, cached": {"phase": Phase("p", joint, trains=only("exits.")), "cached": True},
    "augmented": {"inputs": Random},
    "augmented, through a loader": {"inputs": Loaded},
    "epoch's end": {"phase": Phase("p", weighed, epoch_end=reweigh)},
    "stopped early": {"recipe": change(epochs=12, lr=3e-2, patience=2)},
    "best kept": {"recipe": change(lr=3e-2, keep_best=True)},
    "sgd, steps": {"recipe": change(optimizer="sgd", schedule="step", milestones=(1, 2), momentum=0.9)},
    "adam, one-cycle": {"recipe": change(optimizer="adam", schedule="one-cycle", warmup=0.3)},
}
SAMPLES = 56  # four batches, the last a small one


def train(case, folder=None, cut=None, *, every=math.inf, start=None):
    """Train a case, raising in step ``cut``; returns weights, history and the checkpoints."""
    data = tiny_data(case.get("kind", "vit"), TASK, SAMPLES)
    if "inputs" in case:
        data.train = Split(case["inputs"](data.train.inputs), data.train.targets)
        data.augment = "noise"
    own = case.get("phase", Phase("p", joint))
    done = 0

    def loss(step):
        nonlocal done
        if step.index == cut:
            raise CutError
        done += 1
        return own.loss(step)

    phase = Phase(own.name, loss, own.trains, epoch_end=own.epoch_end)
    model = model_of(case.get("kind", "vit"))
    np.random.seed(1)  # noqa: NPY002
    random.seed(2)
    if start is not None:  # another process: its random numbers stand elsewhere
        np.random.seed(start)  # noqa: NPY002
        random.seed(start)
        with torch.no_grad():
            for parameter in model.exits.parameters():
                parameter.zero_()  # what is trained comes from the checkpoint
    checkpoints = None if folder is None else Checkpoints(folder, every=every, share=math.inf)
    cache = FeatureCache() if case.get("cached") else None
    recipe = case.get("recipe", RECIPE)
    history = fit(model, phase, recipe, data, seed=7, device=CPU, cache=cache, checkpoints=checkpoints)
    return {name: value.clone() for name, value in model.state_dict().items()}, history, done


def assert_same(first, second):
    assert first.keys() == second.keys()
    for name in first:
        assert torch.equal(first[name], second[name]), name


@pytest.fixture(scope="module")
def undisturbed():
    found = {}

    def get(name):
        if name not in found:
            found[name] = train(CASES[name])
        return found[name]

    return get


@pytest.mark.parametrize("every", [0.0, math.inf], ids=["every batch", "every epoch"])
@pytest.mark.parametrize("name", CASES)
def test_a_training_that_was_cut_off_goes_on_bit_for_bit(name, every, undisturbed, tmp_path):
    weights, history, steps = undisturbed(name)
    for cut in (1, 4, 6, 8, steps - 1):
        folder = tmp_path / f"cut-{cut}"
        with pytest.raises(CutError):
            train(CASES[name], folder, cut, every=every)
        again, told, redone = train(CASES[name], folder, every=every, start=99 if cut > 3 or every == 0 else None)
        assert_same(weights, again)
        assert told == history
        lost = 0 if every == 0 else cut % 4
        assert redone == steps - cut + lost, "what was done before is not done again"


def test_writing_states_changes_nothing(undisturbed, tmp_path):
    weights, history, _ = undisturbed("dropout, everything trained")
    again, told, _ = train(CASES["dropout, everything trained"], tmp_path, every=0.0)
    assert_same(weights, again)
    assert told == history


def test_cut_off_again_and_again(undisturbed, tmp_path):
    name = "stopped early"
    weights, history, steps = undisturbed(name)
    assert history.best < len(history.losses) - 1
    assert len(history.losses) < 12
    total = 0
    for cut in range(2, steps, 3):
        with pytest.raises(CutError):
            train(CASES[name], tmp_path, cut, every=0.0)
    again, told, total = train(CASES[name], tmp_path, every=0.0)
    assert_same(weights, again)
    assert told == history
    assert total <= 3


def test_a_state_of_another_phase_is_left_alone(tmp_path):
    case = CASES["dropout, everything trained"]
    with pytest.raises(CutError):
        train(case, tmp_path, 6, every=0.0)
    weights, history, steps = train({"phase": Phase("another", joint)})
    again, told, redone = train({"phase": Phase("another", joint)}, tmp_path)
    assert_same(weights, again)
    assert (told, redone) == (history, steps)


# --- files -----------------------------------------------------------------------------------------------------------


def states(folder):
    return sorted(path.name for path in folder.iterdir())


def test_two_states_are_kept_and_no_scraps(tmp_path):
    train(CASES["dropout, everything trained"], tmp_path, every=0.0)
    assert states(tmp_path) == ["checkpoint-00000014.safetensors", "checkpoint-00000015.safetensors"]


def test_a_frozen_backbone_is_not_in_a_state(tmp_path):
    train(CASES["frozen backbone"], tmp_path)
    names = load_file(max(tmp_path.iterdir())).keys()
    assert not any(name.startswith("model.backbone.") for name in names)
    assert any(name.startswith("model.exits.") for name in names)


def test_what_an_earlier_phase_trained_is_in_a_state(tmp_path):
    checkpoints = Checkpoints(tmp_path, share=math.inf)
    model, data = model_of(), tiny_data("vit", TASK, 32)
    for phase in (Phase("all", joint), Phase("exits", joint, trains=only("exits."))):
        fit(model, phase, RECIPE, data, seed=1, device=CPU, checkpoints=checkpoints)
    names = load_file(max(tmp_path.iterdir())).keys()
    assert {name for name, _ in model.named_parameters()} <= {name.removeprefix("model.") for name in names}


def cut_short(path):
    path.write_bytes(path.read_bytes()[:-100])


def empty(path):
    path.write_bytes(b"")


def flip(path):
    content = bytearray(path.read_bytes())
    content[-7] ^= 1
    path.write_bytes(content)


def foreign(path):
    save_file({"a": torch.zeros(3)}, path)


@pytest.mark.parametrize("damage", [cut_short, empty, flip, foreign])
def test_of_a_damaged_state_the_one_before_is_taken(damage, undisturbed, tmp_path):
    name = "dropout, everything trained"
    weights, history, steps = undisturbed(name)
    with pytest.raises(CutError):
        train(CASES[name], tmp_path, 6, every=0.0)
    damage(max(tmp_path.iterdir()))
    found = Checkpoints(tmp_path)
    assert len(found.damaged) == 1
    assert "checkpoint-00000007.safetensors: " in found.damaged[0]
    assert found.take().facts["index"] == 5
    again, told, redone = train(CASES[name], tmp_path, every=0.0)
    assert_same(weights, again)
    assert (told, redone) == (history, steps - 5)


def test_shared_and_sliced_memory_is_stored(tmp_path):
    whole = torch.arange(12.0)
    tensors = {"a": whole[2:5], "b": whole[2:5], "c": whole.view(3, 4).t(), "d": torch.tensor(3), "e": whole > 5}
    Checkpoints(tmp_path).write(tensors, {})
    found = Checkpoints(tmp_path).take()
    for name, tensor in tensors.items():
        assert torch.equal(found.tensors[name], tensor)


def test_a_state_that_cannot_be_written_leaves_the_ones_before(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.write({"a": torch.zeros(1)}, {"n": 1})

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("eebench.engine.checkpoint.durable", full)
    with pytest.raises(OSError, match="No space"):
        checkpoints.write({"a": torch.ones(1)}, {"n": 2})
    assert states(tmp_path) == ["checkpoint-00000001.safetensors"]
    assert Checkpoints(tmp_path).take().facts == {"n": 1}


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_when_a_state_is_due(tmp_path):
    """At an epoch's end or after ``every`` seconds, but writing may take at most ``share`` of the time."""
    clock = Clock()
    checkpoints = Checkpoints(tmp_path, every=100.0, share=0.01, clock=clock)
    checkpoints.expect(38_000_000)
    assert checkpoints.cost == pytest.approx(0.2)  # seconds
    checkpoints.expect(1 << 40)
    assert checkpoints.cost == pytest.approx(0.2), "a guess before the first only"
    for now, at_end, within in ((19.9, False, False), (20.1, True, False), (99.0, True, False), (100.0, True, True)):
        clock.now = now
        assert (checkpoints.due(epoch_ended=True), checkpoints.due()) == (at_end, within)
    checkpoints.write({"a": torch.zeros(1)}, {})
    assert checkpoints.cost == 0.0, "as this clock has it"
    assert checkpoints.due(epoch_ended=True)
    assert not checkpoints.due()


def test_a_state_is_taken_once(tmp_path):
    Checkpoints(tmp_path).write({}, {"phase": "a"})
    found = Checkpoints(tmp_path)
    assert found.take(lambda facts: facts["phase"] == "b") is None
    assert found.take().facts == {"phase": "a"}
    assert found.take() is None


def test_random_numbers_go_on():
    tensors, facts = random_state(CPU)
    first = (torch.rand(3), np.random.rand(3), random.random(), np.random.randn())  # noqa: NPY002
    restore_random_state(tensors, facts, CPU)
    again = (torch.rand(3), np.random.rand(3), random.random(), np.random.randn())  # noqa: NPY002
    assert torch.equal(first[0], again[0])
    assert (first[1] == again[1]).all()
    assert first[2:] == again[2:]


# --- signals ---------------------------------------------------------------------------------------------------------


def test_asked_to_stop_a_training_finishes_its_batch_and_writes(undisturbed, tmp_path):
    name = "dropout, everything trained"
    weights, _, steps = undisturbed(name)

    def asking(step):
        if step.index == 5:
            requests.ask_to_stop(KeyboardInterrupt())
        return joint(step)

    with pytest.raises(KeyboardInterrupt):
        train({"phase": Phase("p", asking)}, tmp_path, every=math.inf)
    again, _, redone = train(CASES[name], tmp_path)
    assert redone == steps - 6
    assert_same(weights, again)


def test_a_state_when_asked_for_one(tmp_path):
    def asking(step):
        requests.checkpoint = step.index == 1
        return joint(step)

    with pytest.raises(CutError):
        train({"phase": Phase("p", asking)}, tmp_path, 3)
    assert Checkpoints(tmp_path).take().facts["index"] == 2
    assert not requests.pending


def test_who_is_asked_twice_or_does_not_listen_stops_at_once():
    asked = Requests()
    with pytest.raises(SystemExit):
        asked.ask_to_stop(SystemExit())
    with asked.listening():
        asked.ask_to_stop(SystemExit())
        with pytest.raises(KeyboardInterrupt):
            asked.ask_to_stop(KeyboardInterrupt())
    assert not asked.pending
