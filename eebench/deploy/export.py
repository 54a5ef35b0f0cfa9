"""From a trained model to a folder that stands alone: graphs, weights, rule, preprocessing, card, checksums."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional as F

from eebench.api import ExitRule
from eebench.backbones.encoder import TextBackbone
from eebench.deploy.card import card
from eebench.deploy.folder import FORMATS, Deployment, GraphFile, write
from eebench.deploy.graphs import Graph, Stretch, as_onnx, trace_all
from eebench.deploy.rule_source import RULE, rule_source
from eebench.deploy.samples import RESIZE, TOKENIZER
from eebench.deploy.segments import cut
from eebench.deploy.weights import share_weights
from eebench.engine.model import EarlyExitModel
from eebench.errors import UserError, shown
from eebench.rules import Decided

if TYPE_CHECKING:
    from eebench.data.preprocessing import Preprocessing

__all__ = ["CLOSE", "OPSET", "Described", "export"]

OPSET = 20
"""ONNX operators' version unless another is asked for: the first with GELU."""

CLOSE = 1e-3
"""How far a graph's logits may be from the model's on the example, as a share of their largest: more is no rounding."""


@dataclass(frozen=True)
class Described:
    """What goes with a model into its folder.

    Attributes:
        method: its label.
        knob: where the folder's own knob stands; None where nothing is decided.
        target: the operating point that the knob is for.
        knobs: by operating point.
        labels: class names by id.
        preprocessing: what a raw sample goes through.
        source: what it was exported from, for the card.
        numbers: of the operating point, for the card.
    """

    method: str
    knob: float | None = None
    target: str | None = None
    knobs: Mapping[str, float] = field(default_factory=dict)
    labels: Sequence[str] = ()
    preprocessing: Preprocessing | None = None
    source: Mapping[str, Any] = field(default_factory=dict)
    numbers: Mapping[str, Any] = field(default_factory=dict)


def export(
    model: EarlyExitModel,
    rule: ExitRule | None,
    out: str | Path,
    described: Described,
    *,
    format: str = "onnx",
    opset: int = OPSET,
    data_only: bool = False,
) -> Deployment:
    """Write a model to a folder that a runner runs.

    Args:
        model: in eval mode, on the CPU.
        rule: what decides; None exports the plain model as one graph.
        out: the folder; it must not be there yet.
        described: what goes with it.
        format: ``onnx``, or ``torch`` (``torch.export`` programs).
        opset: of ONNX.
        data_only: refuse a rule that would have to be a Python file.

    Returns:
        What the folder says of itself.

    Raises:
        UserError: a folder that is there, a model or rule that cannot be exported. Nothing is left behind then.
    """
    path = Path(out)
    if format not in FORMATS:
        raise UserError(f"no format '{format}'; there are {', '.join(FORMATS)}")
    if path.exists() or path.is_symlink():
        raise UserError(f"{shown(path)} is there already: remove it, or export to another folder")
    if format == "onnx":
        _needs_onnx()
    decided, source = _rule(rule, data_only)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.mkdir(parents=True)
        found = _write(model, rule, temporary, described, format, opset, decided, source)
        _check(model, rule, temporary, found)
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"{shown(path)} cannot be written: {error.strerror or error}") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return found


def _needs_onnx() -> None:
    try:
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UserError(f"--format onnx needs {error.name}: pip install 'eebench[onnx]'") from None


def _rule(rule: ExitRule | None, data_only: bool) -> tuple[dict[str, Any] | None, str | None]:
    """The rule as data, or a reference to a file and that file's text."""
    if rule is None:
        return None, None
    if isinstance(rule, Decided) and type(rule).step is Decided.step:
        return rule.decision.to_dict(), None
    if data_only:
        raise UserError(
            f"the exit rule {type(rule).__qualname__} is no data: it needs a Python file beside the graphs; leave"
            " --data-only out, or derive the rule from eebench.rules.Decided"
        )
    return {"python": RULE}, rule_source(rule)


def _write(
    model: EarlyExitModel,
    rule: ExitRule | None,
    folder: Path,
    described: Described,
    format: str,
    opset: int,
    decided: dict[str, Any] | None,
    source: str | None,
) -> Deployment:
    segments, answers = cut(model, rule)
    stretches = trace_all(segments, answers)
    if source is not None:
        (folder / RULE).write_text(source, encoding="utf-8")
    if format == "onnx":
        _write_onnx(stretches, folder, opset)
    else:
        _write_programs(stretches, folder)
    preprocessing = described.preprocessing
    if preprocessing is not None and preprocessing.native not in (None, preprocessing.size):
        np.save(folder / RESIZE, _resizing(preprocessing))
    backbone, regression = model.backbone, _outputs(segments) == 1
    found = Deployment(
        format=format,
        opset=opset if format == "onnx" else None,
        method=described.method,
        blocks=list(model.blocks if rule is not None else model.blocks[-1:]),
        segments=[_file(each.segment, _name("segment", i, format)) for i, each in enumerate(stretches)],
        answers=[
            None if each.answer is None else _file(each.answer, _name("answer", i, format))
            for i, each in enumerate(stretches)
        ],
        rule=decided,
        knob_name=None if rule is None else rule.knob.name,
        knob=described.knob,
        target=described.target,
        knobs=dict(described.knobs),
        labels=[] if regression else list(described.labels),
        regression=regression,
        modality=backbone.modality,
        preprocessing=None if preprocessing is None else preprocessing.to_dict(),
        text=_tokenizer(backbone, folder) if isinstance(backbone, TextBackbone) else None,
        source={"eebench": version("eebench"), **described.source},
        numbers=dict(described.numbers),
    )
    (folder / "README.md").write_text(card(found), encoding="utf-8")
    write(folder, found)
    return found


def _write_onnx(stretches: Sequence[Stretch], folder: Path, opset: int) -> None:
    import onnx_ir

    models = {}
    for position, stretch in enumerate(stretches):
        named = {"segment": stretch.segment, "answer": stretch.answer}
        for kind, graph in named.items():
            if graph is not None:
                models[_name(kind, position, "onnx")] = as_onnx(graph, opset, f"{kind} {position + 1}")
    share_weights(list(models.values()), folder)
    for name, made in models.items():
        onnx_ir.save(made, folder / name)


def _write_programs(stretches: Sequence[Stretch], folder: Path) -> None:
    for position, stretch in enumerate(stretches):
        torch.export.save(stretch.segment.program, folder / _name("segment", position, "torch"))
        if stretch.answer is not None:
            torch.export.save(stretch.answer.program, folder / _name("answer", position, "torch"))


def _name(kind: str, position: int, format: str) -> str:
    return f"{kind}_{position + 1:02d}{FORMATS[format]}"


def _file(graph: Graph, name: str) -> GraphFile:
    return GraphFile(name, dict(graph.takes), list(graph.gives))


def _outputs(segments: Sequence[Any]) -> int:
    return int(segments[-1].makes["logits"].shape[1])


def _resizing(preprocessing: Preprocessing) -> np.ndarray:
    """(size, native) weights of torch's bicubic, antialiased resize: rows and columns are resized one after another."""
    native, size = preprocessing.native, preprocessing.size
    assert native is not None
    assert size is not None
    unit = torch.eye(native)[None, None]
    return F.interpolate(unit, (size, native), mode="bicubic", antialias=True)[0, 0].numpy()


def _tokenizer(backbone: TextBackbone, folder: Path) -> dict[str, Any]:
    """Write ``tokenizer.json``; how it pads and cuts."""
    text, pads = backbone.tokenizer_json()
    (folder / TOKENIZER).write_text(text, encoding="utf-8")
    return {**pads, "max_tokens": backbone.max_tokens}


@torch.no_grad()
def _check(model: EarlyExitModel, rule: ExitRule | None, folder: Path, deployment: Deployment) -> None:
    """The folder's own graphs answer as the model does, from the first exit to the last.

    Raises:
        UserError: they do not.
    """
    from eebench.deploy.segments import examples, unnamed

    runner: Any
    if deployment.format == "onnx":
        from eebench.deploy.runner import Runner

        runner = Runner(folder)
    else:
        from eebench.deploy.torch_runner import TorchRunner

        runner = TorchRunner(folder)
    ends = [0.0] if rule is None else [k for k in (rule.knob.never, rule.knob.always) if k is not None]
    for batch in examples(model):
        arrays = {name: column.numpy() for name, column in batch.items()}
        for rows in (slice(None), slice(1)):
            some = {name: column[rows] for name, column in arrays.items()}
            inputs = unnamed({name: torch.from_numpy(column) for name, column in some.items()})
            for knob in ends:
                expected = model.backbone.plain(inputs) if rule is None else model.dynamic(inputs, rule, knob).logits
                logits, _ = runner.decide(some, knob)
                apart = float(np.abs(logits - expected.numpy()).max()) / max(1.0, float(expected.abs().max()))
                if not apart <= CLOSE:
                    raise UserError(
                        f"the exported graphs do not answer as the model does (logits differ by {apart:.2g} of their"
                        " largest): something in it depends on the values it was traced with"
                    )
