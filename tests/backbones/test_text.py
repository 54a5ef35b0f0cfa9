"""Text backbones: every block against transformers' own hidden states, padding, compaction, sharing, lengths."""

import copy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("transformers", reason="text backbones need the extra 'text'")

from real_data import real
from tiny_text import FAMILIES, LONG, PAIRS, TEXTS, TOKENS, write
from transformers import AutoModel, AutoTokenizer

from eebench.api import Features
from eebench.backbones import MODEL_TYPES
from eebench.backbones.text import FAMILIES as ADAPTERS
from eebench.backbones.text import TextBackbone, create_text
from eebench.engine.macs import exit_costs
from eebench.engine.model import EarlyExitModel
from eebench.errors import UserError
from eebench.parts import LinearExit
from eebench.rules import Confidence

CLOSE = {"atol": 1e-5, "rtol": 1e-5}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {family: write(tmp_path_factory.mktemp(family), family) for family in FAMILIES}


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def backbone(folders: dict[str, Path], family: str) -> TextBackbone:
    torch.manual_seed(1)
    return create_text(str(folders[family]), outputs=3).eval()


def walk(backbone: TextBackbone, inputs: dict[str, torch.Tensor]) -> list[Features]:
    """Features behind the embedding and every block."""
    seen = [backbone.embed(inputs)]
    for number in range(1, backbone.depth + 1):
        seen.append(backbone.block(number, seen[-1]))
    return seen


@pytest.mark.parametrize("raw", [TEXTS, TEXTS[:1], PAIRS], ids=["padded", "single", "pairs"])
@torch.no_grad()
def test_every_block_equals_the_hidden_states_of_transformers(folders, family, backbone, raw):
    # Loaded and tokenized apart from eebench, and with the eager attention, whose masks are additive.
    oracle = AutoModel.from_pretrained(folders[family], attn_implementation="eager").eval()
    inputs = AutoTokenizer.from_pretrained(folders[family])(
        *([raw] if isinstance(raw[0], str) else zip(*raw, strict=True)), padding=True, return_tensors="pt"
    )
    states = oracle(**inputs, output_hidden_states=True).hidden_states
    seen = walk(backbone, backbone.prepare(raw))
    assert len(seen) == len(states) == backbone.depth + 1 == 5
    for features, state in zip(seen, states, strict=True):
        torch.testing.assert_close(features.tokens, state, **CLOSE)
    assert (states[-1] - states[-2]).abs().mean() > 0.1  # the comparison can tell one block from the next


@pytest.mark.parametrize("raw", [TEXTS, TEXTS[1:2], PAIRS], ids=["padded", "single", "pairs"])
@torch.no_grad()
def test_the_walk_ends_in_the_models_own_forward(backbone, raw):
    inputs = backbone.prepare(raw)
    last = walk(backbone, inputs)[-1]
    logits = backbone.classify(last)
    assert logits.shape == (len(raw), 3)
    torch.testing.assert_close(logits, backbone.plain(inputs), **CLOSE)
    assert backbone.norm(last) is last


def test_training_walks_the_same_network(backbone):
    backbone.train()  # dropout on: equal only if the walk draws it in the model's own order
    inputs = backbone.prepare(TEXTS)
    torch.manual_seed(3)
    expected = backbone.plain(inputs)
    torch.manual_seed(3)
    torch.testing.assert_close(backbone.classify(walk(backbone, inputs)[-1]), expected, **CLOSE)


def test_gradients_reach_every_parameter_and_equal_the_models_own(backbone):
    inputs = backbone.prepare(TEXTS)
    gradients = []
    for logits in (backbone.plain(inputs), backbone.classify(walk(backbone, inputs)[-1])):
        backbone.zero_grad()
        logits.square().sum().backward()
        gradients.append({name: p.grad.clone() for name, p in backbone.named_parameters()})
    for name, gradient in gradients[0].items():
        assert gradient.abs().sum() > 0 or "key.bias" in name or "k_lin.bias" in name or ".k.bias" in name, (
            name
        )  # softmax cancels a key's bias
        torch.testing.assert_close(gradients[1][name], gradient, atol=1e-4, rtol=1e-4, msg=name)


@torch.no_grad()
def test_padding_changes_nothing(backbone):
    together = walk(backbone, backbone.prepare(TEXTS))
    for row, text in enumerate(TEXTS):
        alone = walk(backbone, backbone.prepare([text]))
        length = alone[0].tokens.shape[1]
        for padded, single in zip(together, alone, strict=True):
            torch.testing.assert_close(padded.tokens[row, :length], single.tokens[0], **CLOSE)


@torch.no_grad()
def test_rows_that_leave_change_nothing_for_the_rest(backbone):
    full = walk(backbone, backbone.prepare(TEXTS))
    keep = torch.tensor([3, 0])
    features = full[2].rows(keep)
    for number in range(3, backbone.depth + 1):
        features = backbone.block(number, features)
    torch.testing.assert_close(features.tokens, full[-1].tokens[keep], **CLOSE)
    assert torch.equal(features.mask, full[-1].mask[keep])


@torch.no_grad()
def test_dynamic_inference_on_a_padded_batch_equals_one_text_at_a_time(backbone):
    torch.manual_seed(0)
    exits = {block: LinearExit(backbone.layouts[block - 1], 3) for block in (1, 2, 3)}
    model, rule = EarlyExitModel(backbone, exits).eval(), Confidence()
    raw = [*TEXTS, *reversed(TEXTS), "sea", "a book about ships"]
    scores = torch.stack([visit.logits.softmax(-1).amax(-1) for visit in model.trace(backbone.prepare(raw))[:-1]])
    mixed = 0
    for quantile in (0.5, 0.7, 0.9):
        knob = float(scores.quantile(quantile)) + 1e-4
        batch = model.dynamic(backbone.prepare(raw), rule, knob)
        mixed += len(batch.exit.unique()) > 1
        for row, text in enumerate(raw):
            alone = model.dynamic(backbone.prepare([text]), rule, knob)
            assert batch.exit[row] == alone.exit[0]
            torch.testing.assert_close(batch.logits[row], alone.logits[0], **CLOSE)
    assert mixed  # rows did leave while others went on


def test_layouts_and_masks_say_what_the_tokens_are(backbone):
    features = backbone.embed(backbone.prepare(TEXTS))
    assert features.mask.dtype == torch.bool
    assert features.mask.sum(1).tolist() == backbone.lengths(TEXTS).tolist()
    assert {(x.dim, x.prefix, x.grid, x.cls, x.tokens) for x in backbone.layouts} == {(32, 1, None, True, None)}
    assert (backbone.depth, backbone.heads, backbone.mlp_ratio, backbone.modality) == (4, (4,) * 4, 2.0, "text")


def test_a_batch_without_padding_carries_no_mask(backbone):
    assert "attention_mask" not in backbone.prepare([TEXTS[0]])
    assert backbone.embed(backbone.prepare([TEXTS[0]] * 2)).mask is None
    assert "attention_mask" in backbone.prepare(TEXTS)


def test_long_texts_are_cut_counted_and_run(backbone):
    raw = [LONG, "the fox", LONG, "who wrote it"]
    inputs = backbone.prepare(raw)
    assert backbone.max_tokens == TOKENS
    assert inputs["input_ids"].shape == (4, TOKENS)
    assert backbone.truncated(raw) == 2
    assert backbone.truncated(TEXTS) == 0
    np.testing.assert_array_equal(backbone.lengths(raw), inputs["attention_mask"].sum(1).numpy())
    assert backbone.plain(inputs).shape == (4, 3)


def test_lengths_of_nothing_and_of_pairs(backbone):
    assert backbone.lengths([]).shape == (0,)
    assert backbone.lengths(PAIRS).tolist() == backbone.prepare(PAIRS)["attention_mask"].sum(1).tolist()
    pair = [(LONG, "the fox")]
    assert backbone.lengths(pair).tolist() == [TOKENS] == [backbone.prepare(pair)["input_ids"].shape[1]]


def test_an_example_is_one_text_of_any_length(backbone):
    real = backbone.prepare(TEXTS[:1])
    for tokens in (3, 7):
        example = backbone.example(tokens)
        assert example.keys() == real.keys()
        assert {column.shape for column in example.values()} == {(1, tokens)}
        assert backbone.plain(example).shape == (1, 3)
    assert backbone.example()["input_ids"].shape == (1, backbone.max_tokens)


def test_max_tokens_can_be_lowered_but_not_raised(folders, family):
    low = create_text(str(folders[family]), outputs=2, max_tokens=6)
    assert (low.max_tokens, low.prepare([LONG])["input_ids"].shape) == (6, (1, 6))
    for wrong, words in ((TOKENS + 1, f"{TOKENS + 1} is more than the {TOKENS} tokens"), (3, "3 leaves no room")):
        with pytest.raises(UserError, match=f"--max-length: {words}"):
            create_text(str(folders[family]), outputs=2, max_tokens=wrong)


def test_segments_are_told_apart_where_the_family_has_them(backbone, family):
    inputs = backbone.prepare(PAIRS)
    assert ("token_type_ids" in inputs) == (family in ("bert", "albert"))
    if "token_type_ids" in inputs:
        assert inputs["token_type_ids"].unique().tolist() == [0, 1]


def test_a_deep_copy_stands_alone(backbone):
    inputs = backbone.prepare(TEXTS)
    twin = copy.deepcopy(backbone)
    before = backbone.plain(inputs)
    torch.testing.assert_close(twin.classify(walk(twin, inputs)[-1]), before)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.mul_(0.5)
    torch.testing.assert_close(backbone.classify(walk(backbone, inputs)[-1]), before)
    torch.testing.assert_close(twin.classify(walk(twin, inputs)[-1]), twin.plain(inputs), **CLOSE)


def test_alberts_shared_layers_count_once_and_run_by_group(folders, tmp_path):
    backbone = create_text(str(folders["albert"]), outputs=3)  # 4 layers in 2 groups
    first, second = backbone.net.albert.encoder.albert_layer_groups
    runs = []
    for group in (first, second):
        group.register_forward_hook(lambda module, *_: runs.append(module))
    walk(backbone, backbone.prepare(TEXTS))
    assert runs == [first, first, second, second]
    deeper = create_text(str(write(tmp_path, "albert", num_hidden_layers=8)), outputs=3)
    assert deeper.depth == 8
    assert sum(p.numel() for p in deeper.parameters()) == sum(p.numel() for p in backbone.parameters())
    assert len(list(deeper.state_dict())) == len(list(backbone.net.state_dict()))


@torch.no_grad()
def test_alberts_groups_of_two_layers_are_one_block(tmp_path):
    backbone = create_text(str(write(tmp_path, "albert", inner_group_num=2)), outputs=3).eval()
    inputs = backbone.prepare(TEXTS)
    assert backbone.depth == 4
    torch.testing.assert_close(backbone.classify(walk(backbone, inputs)[-1]), backbone.plain(inputs), **CLOSE)


def test_every_block_costs_the_same_shared_or_not(backbone):
    inputs, width, mlp = backbone.prepare(TEXTS[1:2]), 32, 64
    length = inputs["input_ids"].shape[1]
    products = length * (4 * width * width + 2 * width * mlp) + 2 * length * length * width
    norms = 2 * 5 * length * width  # fvcore's convention: 5 an element
    exits = {block: LinearExit(backbone.layouts[block - 1], 3) for block in (1, 2, 3)}
    costs = exit_costs(EarlyExitModel(backbone, exits).eval(), inputs)
    assert np.diff(costs.backbone)[:2].tolist() == [products + norms] * 2
    assert costs.backbone[-1] == costs.plain


def test_roberta_carries_no_unused_pooler(folders):
    names = [name for name, _ in create_text(str(folders["roberta"]), outputs=3).named_parameters()]
    assert not [name for name in names if "pooler" in name]


def test_the_families_that_are_listed_are_those_there_are():
    assert sorted(ADAPTERS) == list(MODEL_TYPES)


def test_importing_the_adapter_imports_no_transformers():
    code = "import sys, eebench.backbones.text; sys.exit('transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@torch.no_grad()
def test_a_real_checkpoint_walks_as_transformers_runs_it():
    folder = real("minilm-l6")
    backbone = create_text(str(folder), outputs=6).eval()
    texts = ["Who was The Pride of the Yankees ?", "What is the longest river in the world and where does it end ?"]
    inputs = AutoTokenizer.from_pretrained(folder, local_files_only=True)(texts, padding=True, return_tensors="pt")
    oracle = AutoModel.from_pretrained(folder, attn_implementation="eager", local_files_only=True).eval()
    states = oracle(**inputs, output_hidden_states=True).hidden_states
    for features, state in zip(walk(backbone, backbone.prepare(texts)), states, strict=True):
        torch.testing.assert_close(features.tokens, state, atol=1e-4, rtol=1e-4)
