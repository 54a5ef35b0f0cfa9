"""The tables of runtimes and of the serving loop in benchmarks/README.md, made from their record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["BEGIN", "PAGE", "RECORD", "tables"]

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "benchmarks" / "README.md"
RECORD = ROOT / "results" / "reference" / "benchmarks-runtimes-cpu.json"
BEGIN = "<!-- runtimes: made by python -m tests.reference_text -->"
RUNTIMES = ("eager", "compile", "onnxruntime", "best against best")


def tables() -> str:
    """Both tables."""
    results = json.loads(RECORD.read_text(encoding="utf-8"))["results"]
    return "\n".join([*_runtimes(results), "", *_serving(results)])


def _runtimes(results: list[dict[str, Any]]) -> list[str]:
    cases: dict[str, dict[str, dict[str, Any]]] = {}
    for result in results:
        if result["benchmark"] == "runtimes":
            case, _, runtime = result["case"].rpartition(", ")
            cases.setdefault(case, {})[runtime.partition(" (")[0]] = result
    lines = [
        "| case | eager | compile | ONNX Runtime | best against best | plain, compile | plain, ONNX Runtime |",
        "|---|---|---|---|---|---|---|",
    ]
    for case, found in cases.items():
        gains = " | ".join(f"{found[runtime]['value']:.2f}×" for runtime in RUNTIMES)
        plain = " | ".join(f"{found[runtime]['detail']['plain_over_eager']:.2f}×" for runtime in RUNTIMES[1:3])
        lines.append(f"| {case} | {gains} | {plain} |")
    return lines


def _serving(results: list[dict[str, Any]]) -> list[str]:
    lines = [
        "| requests at random, one server | real, ms | simulated, ms | apart | bound | |",
        "|---|---|---|---|---|---|",
    ]
    for result in results:
        if result["benchmark"] == "serving":
            detail, case = result["detail"], result["case"].partition(" simulated")[0]
            apart = f"{100 * result['value']:.1f} % | {100 * result['goal']:.0f} %"
            times = f"{detail['real_ms']:.1f} | {detail['simulated_ms']:.1f}"
            lines.append(f"| {case} | {times} | {apart} | {'held' if result['met'] else 'missed'} |")
    return lines
