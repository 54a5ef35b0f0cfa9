"""The first blocks of a text encoder: what transformers runs with a configuration of that depth."""

import pytest
import torch

pytest.importorskip("transformers", reason="text backbones need the extra 'text'")

from real_data import real
from tiny_text import FAMILIES, TEXTS, write
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification

from eebench.backbones.text import FAMILIES as ADAPTERS
from eebench.backbones.text import create_text


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {family: write(tmp_path_factory.mktemp(family), family) for family in FAMILIES}


def walk(backbone, inputs):
    features = backbone.embed(inputs)
    for number in range(1, backbone.depth + 1):
        features = backbone.block(number, features)
    return features


@pytest.mark.parametrize("pool", ["cls", "mean"])
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("blocks", [1, 2, 3, 4])
def test_the_shortened_network_is_transformers_of_that_depth(folders, family, pool, blocks):
    torch.manual_seed(1)
    short = create_text(str(folders[family]), outputs=3, pool=pool)
    before = sum(p.numel() for p in short.parameters())
    assert short.shorten(blocks) is short
    assert (short.depth, len(short.heads)) == (blocks, blocks)
    if blocks < 3:  # ALBERT's second group runs blocks 3 and 4
        assert sum(p.numel() for p in short.parameters()) < before
    changes = {"num_hidden_groups": (blocks + 1) // 2} if family == "albert" else {}
    changes |= {"n_layers" if family == "distilbert" else "num_hidden_layers": blocks}
    config = AutoConfig.from_pretrained(folders[family], num_labels=3, **changes)
    auto = AutoModel if pool == "mean" else AutoModelForSequenceClassification
    native = auto.from_config(config, attn_implementation=ADAPTERS[family].attention)
    native.load_state_dict(short.net.state_dict(), strict=pool == "cls")  # the mean needs no pooler
    inputs = short.prepare(TEXTS)
    for training in (False, True):
        short.train(training)
        native.train(training)
        answers = []
        for answer in (lambda x: short.classify(walk(short, x)), short.plain):
            torch.manual_seed(3)
            answers.append(answer(inputs))
        torch.manual_seed(3)
        theirs = native(**inputs)
        if pool == "cls":
            answers.append(theirs.logits)
        else:
            weight = inputs["attention_mask"][..., None]
            mean = (theirs.last_hidden_state * weight).sum(1) / weight.sum(1)
            answers.append(short.mean_head(mean))
        if not (training and pool == "mean"):  # the dropout behind the mean is drawn elsewhere in the oracle
            torch.testing.assert_close(answers[2], answers[1], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(answers[0], answers[1], atol=1e-5, rtol=1e-5)


def test_alberts_groups_are_cut_only_where_transformers_would_share_them_out_alike(tmp_path):
    folder = write(tmp_path, "albert", num_hidden_layers=6, num_hidden_groups=2)  # 1 1 1 2 2 2
    assert create_text(str(folder), outputs=3).shorten(2).depth == 2
    with pytest.raises(ValueError, match="2 groups cannot be cut behind block 4"):
        create_text(str(folder), outputs=3).shorten(4)  # 1 1 1 2, where transformers would make 1 1 2 2


def test_every_family_has_its_depths_checked(folders):
    assert set(FAMILIES) <= set(ADAPTERS)
    for folder in folders.values():
        with pytest.raises(ValueError, match="4 blocks cannot keep 5"):
            create_text(str(folder), outputs=3).shorten(5)


@torch.no_grad()
def test_a_real_encoder_keeps_its_first_blocks():
    backbone = create_text(str(real("minilm-l6")), outputs=6).eval()
    inputs = backbone.prepare(TEXTS)
    features = backbone.embed(inputs)
    for number in (1, 2):
        features = backbone.block(number, features)
    torch.testing.assert_close(backbone.shorten(2).plain(inputs), backbone.classify(features))
