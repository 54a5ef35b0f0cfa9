"""Where exits go, and the linear exits several methods share."""

import pytest
import torch
from torch.nn import functional as F

from eebench.api import Phase, Task
from eebench.engine.model import EarlyExitModel
from eebench.errors import UserError
from eebench.testing import TinyPyramid, classes_for, inputs_for, tiny_text, tiny_vit, train_step
from eebench_methods.common import depth_weighted_loss, exit_blocks, linear_exits


def test_exits_go_behind_every_block_but_the_last():
    assert exit_blocks(None, 5) == [1, 2, 3, 4]
    assert exit_blocks((3, 1), 5) == [1, 3]


@pytest.mark.parametrize("blocks", [(0, 2), (5,), (2, 2), ()])
def test_impossible_blocks_are_one_line(blocks):
    with pytest.raises(UserError, match="blocks from 1 to 4") as error:
        exit_blocks(blocks, 5)
    assert "\n" not in str(error.value)


def test_a_linear_exit_is_norm_pooler_classifier():
    vit = tiny_vit()
    head = linear_exits(vit, 3, [2], pooler="own")[2]
    features = vit.block(1, vit.embed(inputs_for(vit, 5)))
    x = F.layer_norm(features.tokens[:, 0], (32,), head.norm.weight, head.norm.bias, 1e-5)
    z = torch.tanh(x @ head.pooler[0].weight.T + head.pooler[0].bias)
    expected = z @ head.classifier.weight.T + head.classifier.bias
    torch.testing.assert_close(head(features, {}).logits, expected)


def test_text_is_normalised_already():
    assert not list(linear_exits(tiny_text(), 3, [1])[1].norm.parameters())


def test_one_pooler_for_all_exits_of_a_width():
    heads = linear_exits(TinyPyramid(), 3, [1, 2, 3], pooler="shared")
    assert heads[1].pooler is heads[2].pooler
    assert heads[3].pooler is not heads[2].pooler
    assert heads[1].classifier is not heads[2].classifier
    model = EarlyExitModel(TinyPyramid(), {**heads})
    assert [n for n, _ in model.named_parameters() if "pooler.0.weight" in n] == [
        "exits.1.pooler.0.weight",
        "exits.3.pooler.0.weight",
    ]
    own = linear_exits(TinyPyramid(), 3, [1, 2, 3], pooler="own")
    assert own[1].pooler is not own[2].pooler


def test_deeper_exits_weigh_more():
    vit, task = tiny_vit(), Task(classes=3)
    model = EarlyExitModel(vit, {**linear_exits(vit, 3, [1, 3])})
    targets = classes_for(8)
    step = train_step(model, Phase("joint", depth_weighted_loss), inputs_for(vit, 8), targets, task)
    first, third, last = (F.cross_entropy(visit.logits, targets) for visit in step.visits)
    torch.testing.assert_close(depth_weighted_loss(step), (1 * first + 3 * third + 4 * last) / 8)
