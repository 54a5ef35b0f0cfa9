"""The card of an exported model: what it is, how it was measured, how to run it. Markdown."""

from __future__ import annotations

from typing import Any

from eebench.deploy.folder import Deployment

__all__ = ["card"]

ROWS = {
    "score": ("score", "{:.4f}"),
    "accuracy": ("accuracy", "{:.4f}"),
    "drop": ("lost against the plain backbone", "{:+.4f}"),
    "speedup_macs": ("times fewer multiply-accumulates than the plain backbone", "{:.2f}"),
    "speedup_cpu": ("times faster than the plain backbone on the CPU, batch 1, in eager PyTorch", "{:.2f}"),
    "gmacs": ("GMACs a sample", "{:.4g}"),
    "mean_exit": ("mean exit, block", "{:.2f}"),
    "ece": ("expected calibration error", "{:.4f}"),
}
"""Numbers of an operating point: name → what it is called, how it is written. ``…_low``, ``…_high``: its interval."""


def card(deployment: Deployment) -> str:
    """The folder's README.md."""
    of = deployment
    whole = of.rule is None
    lines = [f"# {of.method}, exported", "", _what(of), "", "```python"]
    name = "Runner" if of.format == "onnx" else "TorchRunner"
    lines += [f"from eebench.deploy import {name}", "", f'run = {name}("path/of/this/folder")']
    lines += ["answer = run(samples)  # answer.labels, answer.probabilities, answer.block", "```", ""]
    if not whole:
        lines += [_knob(of), ""]
    if of.numbers:
        lines += ["| on test data | | 95 % interval |", "|---|---|---|", *_numbers(of.numbers), ""]
        if note := of.numbers.get("note"):
            lines += [str(note), ""]
    lines += ["| exported from | |", "|---|---|", *(f"| {key} | {value} |" for key, value in of.source.items()), ""]
    lines += ["| segment | blocks up to | takes | gives |", "|---|---|---|---|"]
    for segment, block in zip(of.segments, of.blocks, strict=True):
        takes = ", ".join(f"{name} ({' × '.join(map(str, shape))})" for name, (shape, _) in segment.takes.items())
        lines.append(f"| {segment.file} | {block} | {takes} | {', '.join(segment.gives)} |")
    return "\n".join([*lines, "", "`deployment.json` has all of this as data, and the SHA-256 of every file.", ""])


def _what(of: Deployment) -> str:
    made = f"ONNX, opset {of.opset}" if of.format == "onnx" else "`torch.export` programs"
    if of.rule is None:
        return f"The whole network as one graph ({made}); nothing is decided on the way."
    return (
        f"{len(of.segments)} segments ({made}): a segment is the blocks between two exits, the exit behind them, and"
        " what the exit rule observes there. Rows that stop leave the batch; the next segment runs on the rest."
    )


def _knob(of: Deployment) -> str:
    rule = "in `rule.py`" if of.rule is not None and "python" in of.rule else "data in `deployment.json`"
    point = f", the operating point `{of.target}`" if of.target else ""
    others = ", ".join(f"`{target}` ({knob:.6g})" for target, knob in of.knobs.items() if target != of.target)
    return f"The rule is {rule}; {of.knob_name} = {of.knob:.6g}{point}." + (
        f" Also chosen: {others}." if others else ""
    )


def _numbers(numbers: dict[str, Any]) -> list[str]:
    found = []
    for name, (words, style) in ROWS.items():
        value = numbers.get(name)
        if value is None:
            continue
        ends = [numbers.get(f"{name}_{end}") for end in ("low", "high")]
        interval = " to ".join(style.format(end) for end in ends) if None not in ends else ""
        label = f"{words} ({numbers['metric']})" if name == "score" and "metric" in numbers else words
        found.append(f"| {label} | {style.format(value)} | {interval} |")
    return found
