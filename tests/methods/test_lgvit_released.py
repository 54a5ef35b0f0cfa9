"""Weights as LGViT's authors published them: names and shapes made here, against plain formulas."""

import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

import eebench
from eebench import backbones
from eebench.api import Task
from eebench.backbones.weights import fit_weights
from eebench.engine.model import assemble
from eebench.errors import UserError
from eebench.runs.released import load_exits, load_released
from eebench_methods.lgvit import LGViT
from eebench_methods.lgvit.released import translate

transformers = pytest.importorskip("transformers")

CLASSES, DIM, BLOCKS = 10, 192, (4, 5, 6, 7, 8, 9, 10, 11)
KINDS = ("conv1_1", "conv1_1", "conv2_1", "conv2_1", 2, 2, 3, 3)  # modeling_highway_deit.py, init_highway


def highway(kind, dim, *, distilled) -> dict[str, torch.Tensor]:
    """One released exit's tensors by its own names (highway.py)."""
    parts: dict[str, nn.Module] = {}
    if isinstance(kind, int):
        parts |= {"mlp.qkv": nn.Linear(dim, 3 * dim, bias=False), "mlp.proj": nn.Linear(dim, dim)}
    else:
        parts |= {"mlp.conv1": nn.Sequential(nn.Conv2d(dim, dim, 1), nn.GELU(), nn.BatchNorm2d(dim))}
        if kind == "conv1_1":
            parts |= {"mlp.proj": nn.Conv2d(dim, dim, 3, 1, 1, groups=dim), "mlp.proj_bn": nn.BatchNorm2d(dim)}
        parts |= {"mlp.conv2": nn.Sequential(nn.Conv2d(dim, dim, 1), nn.BatchNorm2d(dim))}
    names = ("cls_classifier", "distillation_classifier") if distilled else ("classifier",)
    parts |= {name: nn.Linear(dim, CLASSES) for name in names}
    for module in parts.values():
        for norm in module.modules():
            if isinstance(norm, nn.BatchNorm2d):
                nn.init.uniform_(norm.running_mean, -0.1, 0.1)
                nn.init.uniform_(norm.running_var, 0.5, 1.5)
    return {f"{name}.{key}": value for name, module in parts.items() for key, value in module.state_dict().items()}


def network():
    """Transformers' own DeiT, whose names the released code keeps."""
    torch.manual_seed(0)
    config = transformers.DeiTConfig(
        hidden_size=DIM, num_hidden_layers=12, num_attention_heads=3, intermediate_size=4 * DIM, image_size=8,
        patch_size=2, num_channels=3, num_labels=CLASSES, layer_norm_eps=1e-6,
    )  # fmt: skip
    return transformers.DeiTForImageClassificationWithTeacher(config).eval()


@pytest.fixture(scope="module")
def deit():
    """The network and a whole released state dict of it, an unused pooler included."""
    net = network()
    state = released_names(net.state_dict())
    for number, kind in enumerate(KINDS):
        state |= {f"deit.encoder.highway.{number}.{k}": v for k, v in highway(kind, DIM, distilled=True).items()}
    state["deit.pooler.dense.weight"] = torch.zeros(DIM, DIM)
    return net, state


LATER = {  # names of this transformers -> names of the one that the weights were saved with
    "attention.q_proj": "attention.attention.query", "attention.k_proj": "attention.attention.key",
    "attention.v_proj": "attention.attention.value", "attention.o_proj": "attention.output.dense",
    "mlp.fc1": "intermediate.dense", "mlp.fc2": "output.dense", "deit.layers.": "deit.encoder.layer.",
}  # fmt: skip


def released_names(state):
    found = {}
    for key, value in state.items():
        for new, old in LATER.items():
            key = key.replace(new, old)
        found[key] = value.clone()
    return found


def mixed(state, number, grid):
    """Tokens (B, n, D) of a released head, by its own formulas."""
    w = {k.removeprefix(f"deit.encoder.highway.{number}."): v for k, v in state.items()}

    def norm(x, name):
        mean, var = w[f"{name}.running_mean"], w[f"{name}.running_var"]
        return F.batch_norm(x, mean, var, w[f"{name}.weight"], w[f"{name}.bias"], eps=1e-5)

    kind = KINDS[number]
    if isinstance(kind, int):
        x = F.avg_pool2d(grid, 1, kind).flatten(2).transpose(1, 2)
        q, k, v = F.linear(x, w["mlp.qkv.weight"]).unflatten(2, (3, 8, DIM // 8)).permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(-2, -1) * (DIM // 8) ** -0.5).softmax(-1)
        return F.linear((weights @ v).transpose(1, 2).flatten(2), w["mlp.proj.weight"], w["mlp.proj.bias"])
    x = norm(F.gelu(F.conv2d(grid, w["mlp.conv1.0.weight"], w["mlp.conv1.0.bias"])), "mlp.conv1.2")
    if kind == "conv1_1":
        x = F.conv2d(x, w["mlp.proj.weight"], w["mlp.proj.bias"], padding=1, groups=DIM)
        x = norm(F.gelu(x), "mlp.proj_bn")
    x = norm(F.conv2d(x, w["mlp.conv2.0.weight"], w["mlp.conv2.0.bias"]), "mlp.conv2.1")
    return (x + grid).flatten(2).transpose(1, 2)


def test_every_exit_answers_as_the_released_formulas_on_transformers_own_features(deit):
    net, state = deit
    backbone = backbones.create("deit_ti", outputs=CLASSES, image_size=8, patch_size=2)
    released = LGViT().released(state, backbone)
    lines = load_released(backbone, released, name="deit_ti", weights="x")
    assert any("no place found for: deit.pooler.dense.weight" in line for line in lines)
    model = assemble(LGViT(), backbone, Task(classes=CLASSES))
    load_exits(model, released, "x")
    images = torch.randn(3, 3, 8, 8)
    with torch.inference_mode():
        answers = [visit.logits for visit in model.eval().walk(images)]
        hidden = net(images, output_hidden_states=True)
        for number, block in enumerate(BLOCKS):
            tokens = hidden.hidden_states[block]
            grid = tokens[:, 2:].transpose(1, 2).unflatten(2, (4, 4))
            pooled = mixed(state, number, grid).mean(1)
            w = {
                k: state[f"deit.encoder.highway.{number}.{k}"]
                for k in highway(1, DIM, distilled=True)
                if "mlp" not in k
            }
            cls = F.linear(pooled + tokens[:, 0], w["cls_classifier.weight"], w["cls_classifier.bias"])
            dist = F.linear(
                pooled + tokens[:, 1], w["distillation_classifier.weight"], w["distillation_classifier.bias"]
            )
            torch.testing.assert_close(answers[number], (cls + dist) / 2, atol=2e-4, rtol=1e-3)
    torch.testing.assert_close(answers[-1], hidden.logits, atol=2e-4, rtol=1e-3)


def test_the_vit_layout_has_one_classifier_and_no_distillation_token(deit):
    _, whole = deit
    state = {k: v for k, v in whole.items() if "distillation" not in k and ".highway." not in k and "pooler" not in k}
    state = {k.replace("cls_classifier", "classifier"): v for k, v in state.items()}
    state["deit.embeddings.position_embeddings"] = state["deit.embeddings.position_embeddings"][:, 1:]
    for number, kind in enumerate(KINDS):
        state |= {f"deit.encoder.highway.{number}.{k}": v for k, v in highway(kind, DIM, distilled=False).items()}
    backbone = backbones.create("vit_ti", outputs=CLASSES, image_size=8, patch_size=2)
    released = LGViT().released(state, backbone)
    assert not released.left
    load_released(backbone, released, name="vit_ti", weights="x")
    load_exits(assemble(LGViT(), backbone, Task(classes=CLASSES)), released, "x")


def test_a_swin_of_that_layout_is_placed_whole():
    backbone = backbones.create("swin_s", outputs=CLASSES, image_size=64, patch_size=2)
    state = {}
    for key, value in backbone.net.state_dict().items():
        if "attn.qkv" in key:
            for name, part in zip(("query", "key", "value"), value.chunk(3), strict=True):
                state["swin.encoder." + key.replace("attn.qkv", f"attention.self.{name}")] = part
            continue
        for old, new in (
            ("attn.proj", "attention.output.dense"), ("attn.relative", "attention.self.relative"),
            ("norm1", "layernorm_before"), ("norm2", "layernorm_after"), ("mlp.fc1", "intermediate.dense"),
            ("mlp.fc2", "output.dense"),
        ):  # fmt: skip
            key = key.replace(old, new) if ".blocks." in key else key
        if ".downsample." in key:  # the released code has it at the end of the stage before
            stage = int(key.split(".")[1])
            key = key.replace(f"layers.{stage}.", f"layers.{stage - 1}.")
        key = key.replace("patch_embed.proj", "embeddings.patch_embeddings.projection")
        key = key.replace("patch_embed.norm", "embeddings.norm")
        key = "classifier" + key.removeprefix("head.fc") if key.startswith("head.fc") else key
        key = "layernorm" + key.removeprefix("norm") if key.startswith("norm.") else key
        inside = f"encoder.{key}" if key.startswith("layers.") else key
        state[inside if key.startswith("classifier") else f"swin.{inside}"] = value
    model = assemble(LGViT(), backbone, Task(classes=CLASSES))
    numbers = {}
    for block in model.blocks[:-1]:
        head, layout = model.exits[str(block)], backbone.layouts[block - 1]
        stage = {96: 0, 192: 1, 384: 2, 768: 3}[layout.dim]
        number = numbers[stage] = numbers.get(stage, -1) + 1
        for key, value in head.state_dict().items():
            for new, old in (
                ("mix.pointwise", "mlp.conv1"), ("mix.depthwise.0", "mlp.proj"), ("mix.depthwise.2", "mlp.proj_bn"),
                ("mix.projection", "mlp.conv2"), ("mix.qkv", "mlp.qkv"), ("mix.proj.", "mlp.proj."),
                ("classifier.", "classifier.classifier."), ("norm.", "classifier.layernorm."),
            ):  # fmt: skip
                if key.startswith(new):
                    key = old + key.removeprefix(new)
                    break
            state[f"swin.encoder.layers.{stage}.highway.{number}.{key}"] = value
    net, exits, left = translate(state, model.blocks[:-1])
    assert not [key for key in left if "relative_position_index" not in key]
    own = backbone.net.state_dict()
    torch.testing.assert_close(
        {k: own[k] for k in net if "head" not in k}, {k: v for k, v in net.items() if "head" not in k}
    )
    heads = {k: v for k, v in model.exits.state_dict().items() if not k.startswith("24.")}
    torch.testing.assert_close({k: exits[k] for k in heads}, heads)
    fit_weights(backbone, net, name="swin_s", source="x")


@pytest.fixture
def saved(deit, tmp_path):
    path = tmp_path / "released.safetensors"
    save_file({key: value.contiguous() for key, value in deit[1].items()}, path)
    return path


RUN = {"methods": "lgvit", "backbone": "deit_ti", "dataset": "digits", "budget": "none", "device": "cpu"}
RUN |= {"latency_samples": 8, "latency_seconds": 0.0}


def test_a_run_evaluates_them_without_training(saved, deit, tmp_path):
    frames = eebench.run(weights=f"lgvit:{saved}", results=tmp_path / "results", **RUN)
    training, exits = frames["training"], frames["exits"]
    assert set(training["method"]) == {"backbone", "lgvit"}
    assert (training["epochs"] == 0).all()
    assert not (frames["curves"]["kind"] == "static").any()
    mine = exits[(exits["method"] == "lgvit") & (exits["split"] == "test")]
    assert mine["exit"].tolist() == [*BLOCKS, 12]
    plain = frames["curves"].query("kind == 'plain' and split == 'test'")["score"].item()
    assert mine["score"].iloc[-1] == plain
    assert isinstance(frames["operating_points"], pd.DataFrame)


BAD = {
    "budget quick": ({"budget": "quick"}, "add --budget none"),
    "another method": ({"methods": "pabee"}, "hold exits of lgvit alone, not of pabee"),
    "two of them": ({"methods": "lgvit,lgvit[blocks=4+8]"}, "are one model"),
    "other exits": ({"methods": "lgvit[blocks=4+8]"}, "do not fit the exits"),
    "another backbone": ({"backbone": "deit_s"}, "do not fit deit_s"),
    "no weights": ({"weights": "none"}, "give --weights NAME:PATH"),
    "no file": ({"weights": "lgvit:nowhere.bin"}, "there is no weights file 'nowhere.bin'"),
    "a method that knows none": ({"weights": "pabee", "methods": "pabee"}, "pabee knows no published weights"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_does_not_fit_is_one_line_and_nothing_is_written(case, saved, tmp_path):
    changes, said = BAD[case]
    weights = changes.get("weights", "lgvit")
    weights = weights if ":" in weights or weights == "none" else f"{weights}:{saved}"
    with pytest.raises(UserError) as caught:
        eebench.run(results=tmp_path / "results", **RUN | changes | {"weights": weights})
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "results").exists()
