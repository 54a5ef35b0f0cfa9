"""Pooling as the checkpoint does it: its files, the mean against transformers' hidden states, what it costs."""

import json

import pytest
import torch

pytest.importorskip("transformers", reason="text backbones need the extra 'text'")

from real_data import real
from tiny_text import FAMILIES, PAIRS, TEXTS, write
from transformers import AutoModel, AutoTokenizer

from eebench.api import Features, Layout
from eebench.backbones.text import create_text
from eebench.engine.macs import exit_costs
from eebench.engine.model import EarlyExitModel
from eebench.errors import UserError
from eebench.parts import LinearExit
from eebench.rules import Confidence

CLOSE = {"atol": 1e-5, "rtol": 1e-5}


def says(folder, config, path="1_Pooling", modules=True):
    """Put sentence-transformers' files beside a checkpoint."""
    if modules:
        parts = [("", "Transformer"), (path, "Pooling"), ("2_Normalize", "Normalize")]
        listed = [{"idx": i, "path": p, "type": f"sentence_transformers.models.{t}"} for i, (p, t) in enumerate(parts)]
        (folder / "modules.json").write_text(json.dumps(listed))
    (folder / path).mkdir(exist_ok=True)
    (folder / path / "config.json").write_text(json.dumps(config))
    return folder


def flags(*on):
    kinds = ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "lasttoken")
    return {"word_embedding_dimension": 32, "include_prompt": True} | {f"pooling_mode_{k}": k in on for k in kinds}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {family: write(tmp_path_factory.mktemp(family), family) for family in FAMILIES}


@pytest.fixture(params=FAMILIES)
def backbone(request, folders):
    torch.manual_seed(1)
    return create_text(str(folders[request.param]), outputs=3, pool="mean").eval()


def walk(backbone, inputs):
    seen = [backbone.embed(inputs)]
    for number in range(1, backbone.depth + 1):
        seen.append(backbone.block(number, seen[-1]))
    return seen


@pytest.mark.parametrize(
    ("config", "pool"),
    [
        (flags("mean_tokens"), "mean"),
        (flags("cls_token"), "cls"),
        ({"pooling_mode": "mean"}, "mean"),
        ({"pooling_mode": "cls"}, "cls"),
    ],
)
@pytest.mark.parametrize("modules", [True, False])
def test_the_checkpoints_pooling_is_taken(tmp_path, config, pool, modules):
    backbone = create_text(str(says(write(tmp_path, "bert"), config, modules=modules)), outputs=3)
    assert {layout.pool for layout in backbone.layouts} == {pool}
    assert backbone.notes[-1].endswith("(1_Pooling/config.json)")


def test_the_pooling_modules_folder_is_the_one_that_is_listed(tmp_path):
    folder = says(write(tmp_path, "bert"), flags("mean_tokens"), path="3_Other")
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(flags("max_tokens")))
    assert create_text(str(folder), outputs=3).layouts[0].pool == "mean"


def test_without_such_files_the_class_token_is_read(folders):
    backbone = create_text(str(folders["bert"]), outputs=3)
    assert backbone.layouts[0].pool == "cls"
    assert backbone.notes[-1] == "pooling: the class token (the family's own)"


def test_the_option_is_stronger_than_the_files(tmp_path):
    folder = says(write(tmp_path, "bert"), flags("max_tokens"))
    for pool in ("cls", "mean"):
        backbone = create_text(str(folder), outputs=3, pool=pool)
        assert backbone.layouts[0].pool == pool
        assert backbone.notes[-1].endswith("(--pool)")


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (flags("max_tokens"), "pools by max_tokens (1_Pooling/config.json)"),
        (flags("mean_tokens", "cls_token"), "pools by cls_token and mean_tokens"),
        ({"pooling_mode": ["mean", "max"]}, "pools by mean and max"),
        (flags(), "pools in no way it names"),
    ],
)
def test_other_ways_to_pool_are_refused_in_one_line(tmp_path, config, words):
    folder = says(write(tmp_path, "bert"), config)
    with pytest.raises(UserError) as caught:
        create_text(str(folder), outputs=3)
    assert words in str(caught.value)
    assert "--pool cls or mean" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_are_no_json_are_told_in_one_line(tmp_path):
    folder = says(write(tmp_path, "bert"), flags("mean_tokens"))
    (folder / "modules.json").write_text("{no json")
    with pytest.raises(UserError, match=r"modules.json cannot be read"):
        create_text(str(folder), outputs=3)


@pytest.mark.parametrize("raw", [TEXTS, TEXTS[:1], PAIRS], ids=["padded", "single", "pairs"])
@torch.no_grad()
def test_the_mean_is_that_of_transformers_hidden_states(backbone, raw, folders):
    folder = folders[backbone.net.config.model_type]
    oracle = AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
    inputs = AutoTokenizer.from_pretrained(folder)(
        *([raw] if isinstance(raw[0], str) else zip(*raw, strict=True)), padding=True, return_tensors="pt"
    )
    states = oracle(**inputs, output_hidden_states=True).hidden_states
    lengths = inputs["attention_mask"].sum(1)
    for features, state in zip(walk(backbone, backbone.prepare(raw)), states, strict=True):
        expected = torch.stack([row[:length].mean(0) for row, length in zip(state, lengths, strict=True)])
        torch.testing.assert_close(features.pooled, expected, **CLOSE)
    linear = backbone.mean_head[-1]
    torch.testing.assert_close(backbone.plain(backbone.prepare(raw)), linear(expected), **CLOSE)


@pytest.mark.parametrize("training", [False, True])
def test_the_walk_ends_in_the_plain_forward(backbone, training):
    backbone.train(training)  # dropout on: equal only if the walk draws it in the model's own order
    for raw in (TEXTS, TEXTS[1:2], PAIRS):
        inputs = backbone.prepare(raw)
        torch.manual_seed(3)
        expected = backbone.plain(inputs)
        torch.manual_seed(3)
        torch.testing.assert_close(backbone.classify(walk(backbone, inputs)[-1]), expected, **CLOSE)
    expected.square().sum().backward()
    unused = [name for name, p in backbone.named_parameters() if p.grad is None]
    assert not unused  # no pooler that nothing reads


@torch.no_grad()
def test_padding_and_rows_that_leave_change_nothing(backbone):
    exits = {block: LinearExit(backbone.layouts[block - 1], 3) for block in (1, 2, 3)}
    model, rule = EarlyExitModel(backbone, exits).eval(), Confidence()
    raw = [*TEXTS, *reversed(TEXTS), "sea", "a book about ships"]
    scores = torch.stack([visit.logits.softmax(-1).amax(-1) for visit in model.trace(backbone.prepare(raw))[:-1]])
    knob = float(scores.quantile(0.8)) + 1e-4
    batch = model.dynamic(backbone.prepare(raw), rule, knob)
    assert len(batch.exit.unique()) > 1
    for row, text in enumerate(raw):
        alone = model.dynamic(backbone.prepare([text]), rule, knob)
        assert batch.exit[row] == alone.exit[0]
        torch.testing.assert_close(batch.logits[row], alone.logits[0], **CLOSE)


def test_the_mean_itself_is_not_charged_and_the_classifier_is(folders):
    backbone = create_text(str(folders["bert"]), outputs=3, pool="mean").eval()
    other = create_text(str(folders["bert"]), outputs=3, pool="cls").eval()
    costs = [
        exit_costs(EarlyExitModel(b, {2: LinearExit(b.layouts[1], 3)}).eval(), b.prepare(TEXTS[:1]))
        for b in (backbone, other)
    ]
    assert costs[0].heads[0] == costs[1].heads[0] == 32 * 3
    assert costs[0].plain == costs[1].plain - 32 * 32  # no pooler in front of the classifier
    assert costs[0].uncounted["mean"] >= 1


def test_layouts_without_a_class_token_pool_by_mean():
    assert Layout(8, cls=False).pool == "mean"
    assert Layout(8).pool == "cls"
    image = Features(torch.arange(12.0).view(1, 6, 2), Layout(2, prefix=2, grid=(2, 2), pool="mean"))
    assert image.pooled.tolist() == [[7.0, 8.0]]  # patches alone
    text = Features(torch.arange(12.0).view(1, 6, 2), Layout(2, prefix=1, pool="mean"))
    assert text.pooled.tolist() == [[5.0, 6.0]]  # the class token as well
    text.mask = torch.tensor([[True, True, True, False, False, False]])
    assert text.pooled.tolist() == [[2.0, 3.0]]


@torch.no_grad()
def test_a_real_sentence_encoder_pools_by_mean():
    folder = real("minilm-l6")
    backbone = create_text(str(folder), outputs=6).eval()
    assert backbone.layouts[0].pool == "mean"
    inputs = AutoTokenizer.from_pretrained(folder, local_files_only=True)(TEXTS, padding=True, return_tensors="pt")
    state = AutoModel.from_pretrained(folder, local_files_only=True).eval()(**inputs).last_hidden_state
    weight = inputs["attention_mask"][..., None]
    expected = (state * weight).sum(1) / weight.sum(1)
    torch.testing.assert_close(walk(backbone, backbone.prepare(TEXTS))[-1].pooled, expected, atol=1e-4, rtol=1e-4)
