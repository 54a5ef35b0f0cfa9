"""Which tables and columns of a record the report reads, and what kind of values they hold."""

from __future__ import annotations

from typing import Any

__all__ = ["ADDED", "FLAGS", "NEEDED", "OPTIONAL", "TEXT"]

NEEDED: dict[str, tuple[str, ...]] = {
    "curves": (
        "method", "seed", "split", "kind", "knob_name", "knob", "score", "mean_exit", "gmacs", "gmacs_backbone",
        "gmacs_heads", "gmacs_gates", "speedup_layers", "speedup_macs", "ece",
    ),
    "exits": ("method", "seed", "split", "exit", "score", "gmacs", "ece", "ece_calibrated"),
    "operating_points": (
        "method", "seed", "kind", "target", "met", "knob_name", "knob", "val_score", "val_gmacs", "score", "drop",
        "drop_low", "drop_high", "over_fixed", "over_fixed_low", "over_fixed_high", "mean_exit", "gmacs",
        "gmacs_backbone", "gmacs_heads", "gmacs_gates", "speedup_layers", "speedup_macs", "speedup_cpu",
        "speedup_cpu_low", "speedup_cpu_high", "speedup_gpu", "speedup_gpu_low", "speedup_gpu_high", "ece",
    ),
    "latency": (
        "method", "seed", "device", "scenario", "batch_size", "path", "mean_ms", "p50_ms", "p95_ms", "iqr_ms", "noisy",
    ),
}  # fmt: skip
"""Tables and columns a report cannot do without, in every version."""

OPTIONAL: dict[str, tuple[str, ...]] = {
    "shares": ("method", "seed", "target", "exit", "share", "accuracy"),
    "pairs": ("target", "method_a", "method_b", "difference", "low", "high", "p", "p_holm"),
    "tiers": ("target", "method", "tier", "mean_rank"),
    "training": ("method", "seed", "seconds", "epochs", "passes"),
    "shift": (
        "method",
        "seed",
        "target",
        "corruption",
        "severity",
        "score",
        "score_drift",
        "drop",
        "held",
        "gmacs_drift",
        "coverage",
    ),
    "slowdown": (
        "method",
        "seed",
        "target",
        "radius",
        "samples",
        "mean_exit",
        "mean_exit_noise",
        "mean_exit_attacked",
        "speedup_macs",
        "speedup_macs_noise",
        "speedup_macs_attacked",
        "score",
        "score_noise",
        "score_attacked",
    ),
    "search": (
        "method",
        "seed",
        "trial",
        "lr",
        "backbone_lr_scale",
        "options",
        "value",
        "seconds",
        "chosen",
        "reason",
    ),
    "headlines": ("target", "method", "kind", "measure", "value", "low", "high", "seeds"),
    "runtimes": (
        "method",
        "seed",
        "path",
        "runtime",
        "ran_in",
        "against",
        "mean_ms",
        "plain_ms",
        "speedup",
        "speedup_low",
        "speedup_high",
        "withheld",
    ),
    "energy": ("method", "seed", "path", "batch_size", "joules"),
    "summary": ("method", "seed", "name", "value"),
    "reliability": ("method", "seed", "target", "bin", "low", "high", "count", "confidence", "accuracy"),
    "conformal": ("method", "seed", "target", "sets", "alpha", "coverage", "size"),
    "samples": (
        "method",
        "seed",
        "target",
        "stops",
        "sample",
        "exit",
        "correct",
        "truth",
        "answer",
        "confidence",
        "text",
        "tile",
    ),
}
ADDED: dict[str, dict[str, Any]] = {  # what version 3 brought, and what stands for it where a record has none
    "operating_points": {
        "choose": "naive", "dead_share": 0.0, "withheld_cpu": "", "withheld_gpu": "",
        **dict.fromkeys(
            ("val_drop", "val_drop_upper", "over_frontier", "over_frontier_low", "over_frontier_high",
             "speedup_macs_low", "speedup_macs_high"), float("nan")),
    },
    "exits": {"live": True, "majority": float("nan")},
    "latency": {"basis": "wall", "contaminated": False, "runtime": "eager"},
}  # fmt: skip
TEXT = {
    "method", "split", "kind", "knob_name", "metric", "target", "device", "scenario", "path", "name", "sets", "choose",
    "method_a", "method_b", "withheld_cpu", "withheld_gpu", "measure", "basis", "stops", "correct", "truth", "answer",
    "text", "options", "reason", "corruption", "held", "runtime", "ran_in", "against", "withheld",
}  # fmt: skip
FLAGS = {"met", "noisy", "live", "contaminated", "chosen"}
