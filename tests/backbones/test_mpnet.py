"""MPNet: its shared bias is computed once a walk, costs once, and the real encoder is transformers' own."""

import pytest
import torch

pytest.importorskip("transformers", reason="text backbones need the extra 'text'")

from real_data import real
from tiny_text import TEXTS, TOKENS, write
from transformers import AutoModel, AutoTokenizer

from eebench.backbones.text import create_text
from eebench.engine.macs import exit_costs
from eebench.engine.model import EarlyExitModel
from eebench.parts import LinearExit


@pytest.fixture
def backbone(tmp_path):
    torch.manual_seed(1)
    return create_text(str(write(tmp_path, "mpnet")), outputs=3).eval()


def test_the_bias_is_computed_once_a_walk(backbone):
    calls = []
    backbone.net.mpnet.encoder.relative_attention_bias.register_forward_hook(lambda *_: calls.append(1))
    exits = {block: LinearExit(backbone.layouts[block - 1], 3) for block in (1, 2, 3)}
    model = EarlyExitModel(backbone, exits).eval()
    inputs = backbone.prepare(TEXTS)
    model.trace(inputs)
    assert len(calls) == 1
    calls.clear()
    costs = exit_costs(model, backbone.prepare(TEXTS[:1]))
    # plain, embedding (run and counted), and no block and no exit
    assert len(calls) == 3
    assert costs.backbone[-1] == costs.plain


@torch.no_grad()
def test_rows_share_the_bias_whoever_leaves(backbone):
    features = backbone.embed(backbone.prepare(TEXTS))
    assert features.shared.shape == (1, 4, features.tokens.shape[1], features.tokens.shape[1])
    assert features.rows(torch.tensor([2])).shared is features.shared
    assert backbone.block(1, features).shared is features.shared
    assert features.shared.std() > 0.1  # the comparison with transformers can tell whether it is added
    assert backbone.max_tokens == TOKENS


@torch.no_grad()
def test_the_real_encoder_walks_as_transformers_runs_it():
    folder = real("mpnet-base")
    backbone = create_text(str(folder), outputs=6).eval()
    assert (backbone.depth, backbone.layouts[0].dim, backbone.layouts[0].pool) == (12, 768, "mean")
    texts = ["Who was The Pride of the Yankees ?", "What is the longest river in the world and where does it end ?"]
    inputs = AutoTokenizer.from_pretrained(folder, local_files_only=True)(texts, padding=True, return_tensors="pt")
    oracle = AutoModel.from_pretrained(folder, local_files_only=True).eval()
    states = oracle(**inputs, output_hidden_states=True).hidden_states
    features = backbone.embed(backbone.prepare(texts))
    for number, state in enumerate(states):
        features = backbone.block(number, features) if number else features
        torch.testing.assert_close(features.tokens, state, atol=1e-4, rtol=1e-4)
    weight = inputs["attention_mask"][..., None]
    mean = (states[-1] * weight).sum(1) / weight.sum(1)
    torch.testing.assert_close(features.pooled, mean, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(backbone.classify(features), backbone.plain(backbone.prepare(texts)))
