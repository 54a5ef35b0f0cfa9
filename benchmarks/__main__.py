"""``python -m benchmarks``: every figure beside its goal, on the screen and as JSON."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.harness import Result, Settings

__all__ = ["BENCHMARKS", "main", "record"]

SCHEMA_VERSION = 1
BENCHMARKS = {
    "single": "batch 1 against a straight line of the same modules",
    "batch": "batch 64 with rows leaving, against the MACs",
    "intervals": "coverage of the speed-ups' intervals",
    "busy": "speed-ups beside two busy processes, against the quiet machine",
    "malloc": "page faults with freed memory held and given back",
    "replay": "a hundred knob values over a stored trace",
    "curves": "trace and whole curve of every method, over one pass",
    "memory": "50,000 samples x 12 exits x 1,000 classes",
    "texts": "one long text among short ones, against plain transformers",
    "checkpoints": "training that writes its state, over training that does not",
    "features": "training on a frozen backbone with features shared",
    "nodes": "a thousand cells on 1 to 256 nodes, simulated",
    "runtimes": "early exit compiled and in ONNX Runtime, each against the plain backbone there",
    "serving": "the simulated queue against a real service of an exported model",
    "cuda": "batch 1 and 256 on a GPU (--device cuda)",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run what was asked for; 0 when it ran, whether or not goals were met, and 2 for a mistake on the command line."""
    asked = _parser().parse_args(argv)
    names = asked.only or [name for name in BENCHMARKS if (name == "cuda") == (asked.device == "cuda")]
    settings = Settings(quick=asked.quick, device=asked.device, threads=asked.threads)

    import torch

    from eebench.errors import UserError
    from eebench.runs.environment import hold_memory

    torch.set_num_threads(settings.threads)
    hold_memory()
    before, results = os.getloadavg(), []
    try:
        for result in _run(names, settings):
            print(_line(result, quick=settings.quick), flush=True)
            results.append(result)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    goals = [r for r in results if r.goal is not None]
    met = f"{sum(bool(r.met) for r in goals)} of {len(goals)} goals met"
    words = "quick form: the figures mean nothing" if settings.quick else met
    print(f"{words}; load {before[0]:.1f} to {os.getloadavg()[0]:.1f}")
    if asked.json:
        asked.json.write_text(json.dumps(record(results, settings, before), indent=1) + "\n", encoding="utf-8")
    return 0


def record(results: Sequence[Result], settings: Settings, load_before: Sequence[float]) -> dict[str, Any]:
    """What goes to the JSON file: settings, environment, the machine's load, and every result."""
    from eebench.runs.environment import describe

    return {
        "schema_version": SCHEMA_VERSION,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "quick": settings.quick,
        "device": settings.device,
        "threads": settings.threads,
        "load_before": list(load_before),
        "load_after": list(os.getloadavg()),
        "environment": describe(settings.device),
        "results": [result.record() for result in results],
    }


def _run(names: Sequence[str], settings: Settings) -> Iterator[Result]:
    for name in names:
        yield from import_module(f"benchmarks.{name}").run(settings)


def _line(result: Result, *, quick: bool) -> str:
    goal = verdict = ""
    if result.goal is not None:
        goal = f"{'>=' if result.at_least else '<='} {result.goal:.4g}"
        verdict = "" if quick else "met" if result.met else "MISSED"
    cpu = result.detail.get("cpu_time_ratio")
    beside = "" if cpu is None else f" (CPU time {cpu:.3f})"
    return f"{result.benchmark:9} {result.value:9.4g} {result.unit:9} {goal:9} {verdict:7} {result.case}{beside}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        epilog="\n".join(f"{name:11} {words}" for name, words in BENCHMARKS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", action="append", choices=BENCHMARKS, metavar="NAME", help="just this one; repeatable")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results here as well")
    parser.add_argument("--quick", action="store_true", help="tiny models, two rounds: checks that it runs")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"), help="cuda runs the GPU benchmark")
    parser.add_argument("--threads", type=int, default=1, help="of torch on the CPU (default 1)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
