"""What every vision adapter must hold to, checked against the timm model itself."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from eebench.api import Backbone, Features
from eebench.engine.model import EarlyExitModel
from eebench.parts import LinearExit
from eebench.rules import Confidence

OUTPUTS = 5


def images(size: int | tuple[int, int], batch: int = 3, channels: int = 3) -> Tensor:
    height, width = (size, size) if isinstance(size, int) else size
    return torch.randn(batch, channels, height, width, generator=torch.Generator().manual_seed(1))


def shake(backbone: Backbone) -> None:
    """Make every parameter and statistic matter: fresh networks have zeros (classifiers, residual branches)."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for value in [*backbone.parameters(), *(b for n, b in backbone.named_buffers() if n.endswith("running_mean"))]:
            value.add_(torch.randn(value.shape, generator=generator).to(value.device), alpha=0.05)


def run(backbone: Backbone, features: Features, after: int, upto: int | None = None) -> Features:
    for number in range(after + 1, (upto or backbone.depth) + 1):
        features = backbone.block(number, features)
    return features


def check(backbone: Backbone, blocks: Sequence[nn.Module], inputs: Tensor, *, channels_last: bool = False) -> None:
    """All of it; ``blocks`` are the timm model's own in order (of (B, H, W, C) maps?), ``inputs`` three images."""
    shake(backbone)
    backbone.eval()
    with torch.inference_mode():
        check_layouts(backbone, blocks, inputs, channels_last)
        check_rows(backbone, inputs)
        check_exits(backbone, inputs)
    check_train_mode(backbone, inputs)


def check_layouts(backbone: Backbone, blocks: Sequence[nn.Module], inputs: Tensor, channels_last: bool) -> None:
    """Behind every block the tensor that timm's own forward has there, as the layout says; at the end its logits."""
    assert backbone.depth == len(blocks) == len(backbone.heads)
    outputs: list[Tensor] = []
    hooks = [block.register_forward_hook(lambda module, args, out: outputs.append(out.clone())) for block in blocks]
    plain = backbone.net(inputs)
    for hook in hooks:
        hook.remove()
    assert plain.shape == (len(inputs), OUTPUTS)
    assert torch.equal(backbone.plain(inputs), plain)
    features = backbone.embed(inputs)
    for number, (layout, output) in enumerate(zip(backbone.layouts, outputs, strict=True), start=1):
        features = backbone.block(number, features)
        assert features.layout is layout
        assert layout.grid is not None
        assert features.tokens.shape == (len(inputs), layout.tokens, layout.dim)
        assert features.patches.shape[1] == layout.grid[0] * layout.grid[1]
        assert features.map.shape == (len(inputs), layout.dim, *layout.grid)
        assert features.pooled.shape == (len(inputs), layout.dim)
        if channels_last:
            assert torch.equal(features.map, output.permute(0, 3, 1, 2))
        elif output.ndim == 4:
            assert torch.equal(features.map, output)
        else:
            assert torch.equal(features.tokens, output)
    assert torch.equal(backbone.classify(features), plain)
    example = backbone.example()
    assert example.shape == (1, *inputs.shape[1:])
    assert backbone.embed(example).tokens.shape == (1, *backbone.embed(inputs).tokens.shape[1:])
    assert backbone.norm(features).tokens.shape == features.tokens.shape


def check_rows(backbone: Backbone, inputs: Tensor) -> None:
    """Rows that stay, in any order and behind any block, end where they would have ended alone."""
    alone = torch.cat([backbone.plain(one) for one in inputs.split(1)])
    stay = torch.tensor([2, 0])
    for after in range(1, backbone.depth):
        features = run(backbone, backbone.embed(inputs), 0, after).rows(stay)
        answers = backbone.classify(run(backbone, features, after))
        torch.testing.assert_close(answers, alone[stay], atol=2e-5, rtol=1e-4)


def check_exits(backbone: Backbone, inputs: Tensor) -> None:
    """A linear exit behind every block: forced, static, trace and dynamic say the same; if nobody stops, as plain."""
    exits = {block: LinearExit(backbone.layouts[block - 1], OUTPUTS) for block in range(1, backbone.depth)}
    model = EarlyExitModel(backbone, exits).eval()
    visits = model.trace(inputs)
    for visit in visits:
        assert torch.equal(model.static(inputs, visit.block), visit.logits)
        assert torch.equal(model.forced(inputs, visit.block), visit.logits)
    assert torch.equal(visits[-1].logits, backbone.plain(inputs))
    assert torch.equal(model.dynamic(inputs, Confidence(), Confidence().knob.never).logits, backbone.plain(inputs))
    # Each sample stops at another exit: the first behind block 1, the second in the middle, the third never.
    where = torch.tensor([0, (backbone.depth - 1) // 2, backbone.depth - 1])
    decision = model.dynamic(inputs, _Scheduled(where), 0.0)
    assert decision.exit.tolist() == where.tolist()
    expected = torch.stack([visits[position].logits[row] for row, position in enumerate(where.tolist())])
    torch.testing.assert_close(decision.logits, expected, atol=2e-5, rtol=1e-4)


class _Scheduled(Confidence):
    """Stops sample ``i`` at exit ``where[i]``, whatever the exits say."""

    def __init__(self, where: Tensor) -> None:
        super().__init__()
        self.where = where

    def observe(self, output, exit, ids):
        return {"stop": self.where[ids] == exit}

    def step(self, state, seen, knob):
        return seen["stop"], state


def check_train_mode(backbone: Backbone, inputs: Tensor) -> None:
    """In train mode, from the same random state, the walk gives the timm model's logits and gradients."""
    twin = copy.deepcopy(backbone).train()
    backbone.train()
    torch.manual_seed(3)
    walked = backbone.classify(run(backbone, backbone.embed(inputs), 0))
    torch.manual_seed(3)
    plain = twin.plain(inputs)
    torch.testing.assert_close(walked, plain, atol=0, rtol=0)
    walked.square().sum().backward()
    plain.square().sum().backward()
    for (name, ours), theirs in zip(backbone.named_parameters(), twin.parameters(), strict=True):
        assert (ours.grad is None) == (theirs.grad is None), name
        if ours.grad is not None:
            torch.testing.assert_close(ours.grad, theirs.grad)
