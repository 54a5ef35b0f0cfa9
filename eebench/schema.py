"""The run directory's tables: every column, in order, with what it means. Written and tested against this one place.

All tables are long and tidy: one observation a row, so pandas and R read them as they are. An empty cell means "does
not apply" (no GPU, a regression task, a point that validation data found unreachable).
"""

from __future__ import annotations

from eebench.targets import DROPS, SHARES, Target

__all__ = [
    "BACKBONE",
    "BEST",
    "EAGER",
    "KINDS",
    "PROTOCOL_VERSION",
    "RUNTIMES",
    "SCHEMA_VERSION",
    "STATIC",
    "TABLES",
    "exit_path",
    "fixed_path",
    "static_label",
    "static_path",
]

SCHEMA_VERSION = 3
PROTOCOL_VERSION = 2

BACKBONE = "backbone"
"""Label of the plain backbone."""

EAGER, BEST = "eager", "best"
"""Runtime in which everything is timed; and the fastest of several, each side's own."""

RUNTIMES = (EAGER, "compile", "onnxruntime")
"""PyTorch operator by operator; compiled by torch.compile, segment by segment; exported and run by ONNX Runtime."""

STATIC = "static"
"""Label of the smaller models of the same architecture, each trained alone."""


def static_label(blocks: int) -> str:
    """Label of the cell of a static model with so many blocks."""
    return f"static[blocks={blocks}]"


def static_path(blocks: int) -> str:
    """Path in latency.csv: a static model with so many blocks."""
    return f"blocks_{blocks}"


def exit_path(block: int) -> str:
    """Path in latency.csv: everyone stops behind ``block``, every exit before it asked."""
    return f"exit_{block}"


def fixed_path(block: int) -> str:
    """Path in latency.csv: everyone stops behind ``block``, that exit's head alone being run."""
    return f"fixed_{block}"


KINDS = {
    "plain": "the backbone alone, without exits",
    "static": "a smaller model of the same architecture, its first blocks trained alone with the passes of backbone "
    "plus method; at full depth the plain backbone trained on with a method's passes",
    "dynamic": "the method's exit rule at one knob value",
    "fixed": "everyone stops at one exit of the same trained model, only that exit's head is run",
    "random": "exits drawn at random at the same rate as the method's at that knob value, same cost by construction",
    "oracle": "every sample stops at the first exit that is right: a bound, no deployable method",
}

_WHO = {
    "method": "method with its options as typed, such as pabee or lgvit[blocks=4+8]; 'backbone' for the plain one, "
    "'static' for the smaller models trained alone",
    "seed": "training seed",
}
_COST = {
    "gmacs": "10^9 multiply-accumulates a sample, everything inference runs included (mean over samples)",
    "gmacs_backbone": "share of gmacs spent in the backbone (its embedding, blocks and own classifier)",
    "gmacs_heads": "share of gmacs spent in exit heads",
    "gmacs_gates": "share of gmacs spent in what only decides (gates, halting layers)",
}
_QUALITY = {
    "score": "the task's metric (see 'metric'), on this split; in [0, 1] except correlations and MCC in [-1, 1]",
    "metric": "name of that metric: accuracy, mcc, f1, accuracy_f1, pearson_spearman",
    "accuracy": "share of samples classified correctly; empty for regression",
}
_SPEED = {
    "speedup_layers": "number of blocks / mean exit block: what papers report, heads free",
    "speedup_macs": "plain backbone's gmacs / gmacs: every head and gate charged",
}
_CALIBRATION = {
    "ece": "expected calibration error of the deployed predictions, whole split, 15 equal-width bins",
    "ece_mass": "the same with 15 equal-mass bins",
    "nll": "mean negative log-likelihood in nats",
    "brier": "mean multi-class Brier score, in [0, 2]",
}

TABLES: dict[str, dict[str, str]] = {
    "curves": {
        **_WHO,
        "split": "val or test",
        "kind": "one of: " + "; ".join(f"{k}: {v}" for k, v in KINDS.items()),
        "knob_name": "what the exit rule calls its knob (threshold, patience, q, ...); 'block' for kind fixed, "
        "'blocks' for kind static",
        "knob": "the knob's value; the block number for kind fixed, how many blocks for kind static; empty for plain "
        "and oracle",
        **_QUALITY,
        "mean_exit": "mean number of the block after which samples stop",
        **_COST,
        **_SPEED,
        **_CALIBRATION,
    },
    "exits": {
        **_WHO,
        "split": "val or test",
        "exit": "block number behind which the exit sits; the last one is the full model",
        **_QUALITY,
        **_COST,
        "params": "parameters of this exit (shared ones counted at the first exit that uses them)",
        "ece": "expected calibration error of this exit over all samples, 15 equal-width bins",
        "nll": "mean negative log-likelihood of this exit over all samples, in nats",
        "brier": "mean Brier score of this exit over all samples",
        "temperature": "this exit's softmax temperature fitted on validation data (minimal NLL)",
        "ece_calibrated": "this exit's ece after that temperature",
        "majority": "score of the one class that does best on this split, always answered; empty for regression",
        "live": "False: on validation data the exit is not clearly better than that (see docs/measures.md)",
    },
    "shares": {
        **_WHO,
        "split": "val or test",
        "target": "operating point",
        "exit": "block number behind which the exit sits",
        "share": "share of samples that stop there",
        "accuracy": "accuracy over just these samples; empty for regression, or where nobody stops",
    },
    "operating_points": {
        **_WHO,
        "kind": "static, dynamic, fixed, random or oracle (see curves)",
        "target": "drop_<points>, macs_<per cent> or ms_<milliseconds>; a run that names none has the smallest drop of "
        f"{', '.join(f'{points:g}' for points in DROPS)} points that its validation data can certify "
        "(docs/measures.md), then " + "; ".join(f"{k}: {Target.parse(k).meaning}" for k in SHARES),
        "met": "True when validation data vouch for a knob value that meets the target (for drop_: the bound below); "
        "else the nearest one is shown",
        "choose": "how a drop is judged: upper, by its upper confidence bound, or naive, by the drop seen",
        "knob_name": "what the exit rule calls its knob",
        "knob": "the value chosen on validation data",
        "val_score": "score on validation data at that knob",
        "val_gmacs": "gmacs on validation data at that knob",
        "val_drop": "plain backbone's validation score minus this one",
        "val_drop_upper": "one-sided upper confidence bound of val_drop that the choice was made on",
        "dead_share": "share of test samples that stop at an exit that is not live (see exits)",
        **_QUALITY,
        "drop": "plain backbone's test score minus this one, same seed (positive: worse)",
        "drop_low": "lower end of its 95 % interval, which contains the choice of the knob (nested bootstrap)",
        "drop_high": "its upper end",
        "over_frontier": "score minus that of the run's common static frontier at the same gmacs: plain backbone, "
        "smaller static models and every method's live fixed exits, chosen on validation data, mixed linearly, read on "
        "test data; dynamic and static only, empty below the cheapest of them",
        "over_frontier_low": "lower end of its paired-bootstrap 95 % interval over test samples",
        "over_frontier_high": "its upper end",
        "over_fixed": "score minus that of a fixed depth at the same gmacs, drawing between the two nearest exits of "
        "the same model (the last exit where the method costs more); dynamic only, empty below the cheapest exit",
        "over_fixed_low": "lower end of its paired-bootstrap 95 % interval over test samples",
        "over_fixed_high": "its upper end",
        "mean_exit": "mean number of the block after which test samples stop",
        **_COST,
        **_SPEED,
        "speedup_macs_low": "lower end of its 95 % interval, which contains the choice of the knob",
        "speedup_macs_high": "its upper end",
        "crossfit_drop": "drop of the same target cross-fitted: on validation and test samples together, the knob "
        "chosen on one half and read on the other, and the other way round; dynamic and static, no ms_ targets",
        "crossfit_speedup_macs": "its MAC speed-up",
        "speedup_cpu": "how many times faster than the plain backbone on the CPU, batch 1, same samples and rounds; "
        "timed samples weighted by the share of the split that stops where they do",
        "speedup_cpu_low": "lower end of its 95 % interval (jackknife over turns); empty below ten turns",
        "speedup_cpu_high": "its upper end",
        "withheld_cpu": "why it was timed and is not shown; empty where it is",
        "speedup_gpu": "the same on CUDA wall-clock; empty without a GPU",
        "speedup_gpu_low": "lower end of its interval",
        "speedup_gpu_high": "its upper end",
        "withheld_gpu": "why it was timed and is not shown; empty where it is",
        **_CALIBRATION,
        "ece_low": "lower end of the 95 % interval of the calibration error without what chance adds to ece",
        "ece_high": "its upper end",
        "ece_floor": "mean ece of a perfectly calibrated model with these confidences and so many samples",
    },
    "headlines": {
        "target": "operating point",
        "method": _WHO["method"],
        "kind": "static or dynamic",
        "measure": "score, drop, speedup_macs or over_frontier",
        "value": "mean over seeds, on test data; of speed-ups the geometric mean",
        "low": "lower end of its 95 % interval, which contains the choice of the knob, test samples and seeds",
        "high": "its upper end",
        "seeds": "seeds behind it",
    },
    "pairs": {
        "target": "operating point",
        "method_a": "the better-scoring of two methods, by its mean over seeds",
        "method_b": "the other",
        "difference": "test score of a minus that of b, mean over seeds",
        "low": "lower end of its 95 % interval, paired over samples and seeds",
        "high": "its upper end",
        "p": "p-value of no difference",
        "p_holm": "the same, corrected after Holm for all pairs of the target",
    },
    "tiers": {
        "target": "operating point",
        "method": _WHO["method"],
        "tier": "1 is the best; nobody inside a tier is called better than another",
        "mean_rank": "mean rank by test score over seeds",
    },
    "training": {
        **_WHO,
        "seconds": "wall-clock of training, tracing and counting",
        "epochs": "passes over the training data, all phases",
        "passes": "training samples seen, all phases",
        "train_tmacs": "10^12 multiply-accumulates of training, all phases: forward and backward passes of every step, "
        "validation passes that a method or recipe asks for, and one pass of a frozen backbone whose features are kept "
        "(without keeping, one a step); matrix products, convolutions and attention alone. What it starts from (the "
        "backbone's own row) is not in it",
        "peak_mb": "most memory in use while it was trained, in 10^6 bytes (see peak_kind)",
        "peak_kind": "allocated: by torch on CUDA at once; resident: by the whole process on the CPU, Python, its "
        "libraries and data included, looked at fifty times a second",
        "infer_mb": "10^6 bytes that inference needs: parameters and buffers, and the most that tensors take at once "
        "while one sample (a text: the longest of the test split) goes on to the last exit; allocators and libraries "
        "come on top",
        "params_m": "10^6 parameters at inference",
        "reused": "True when an earlier run made the cell",
    },
    "search": {
        **_WHO,
        "trial": "number of the trial, from 0; trial 0 is the recipe as it is",
        "lr": "factor on the learning rate of every phase",
        "backbone_lr_scale": "the backbone's learning rate as a share of the exits'; empty where none of it is trained",
        "options": "the method's options that were tried, as typed: key=value, separated by commas",
        "value": "mean score within a budget over budgets from 10 to 100 % of the plain backbone's MACs, on validation "
        "data; empty for a trial that failed",
        "seconds": "wall-clock of the trial",
        "chosen": "True for the trial that trains the method on every seed",
        "reason": "why a trial failed",
    },
    "latency": {
        **_WHO,
        "device": "cpu or cuda",
        "scenario": "single (batch 1), batch (rows leave as they finish), wait (the batch waits for its hardest row)",
        "batch_size": "samples a batch",
        "path": "plain; blocks_<k>: a static model; an operating point's name (dynamic inference at its knob); "
        "exit_<block>: everyone forced to "
        "stop there, every exit before it asked; fixed_<block>: that exit's head alone",
        "knob": "the knob in force; empty for plain and forced exits",
        "runtime": "eager; compile or onnxruntime where --runtimes asked for it, on the CPU",
        "mean_ms": "ms a sample (batch time / batch size) on the clock named by basis: mean over batches of their "
        "medians over rounds; where a rule decides at batch 1, weighted by the share of the split that stops there",
        "wall_ms": "the same by the wall clock",
        "cpu_ms": "the same in CPU time of the computing thread, over rounds without interruption where there are any; "
        "with more threads of the whole process: what the work cost, not how long it took",
        "p50_ms": "median over all rounds of a request's latency, from its batch's start to its own answer",
        "p90_ms": "90th percentile", "p95_ms": "95th percentile", "p99_ms": "99th percentile",
        "iqr_ms": "interquartile range",
        "device_ms": "as mean_ms, by CUDA events; empty on cpu",
        "syncs": "host synchronisations a sample (one a decision); empty on cpu",
        "switches": "context switches a sample, voluntary and not; empty where the system counts none",
        "n": "timed batches behind the row",
        "rounds": "rounds it was timed in",
        "basis": "wall, or cpu: CPU time, where other processes' work is in the wall clock of any path beside it",
        "contaminated": "True when other processes' work is in the wall clock: it exceeds CPU time by more than 5 %, "
        "or others used cores that the threads needed",
        "threads": "torch CPU threads",
        "noisy": "True when rounds stray against the plain backbone's: IQR / median of the ratio > 0.1",
    },
    "runtimes": {
        **_WHO,
        "path": "an operating point's name, or blocks_<k>: a static model; batch 1, on the CPU",
        "runtime": "eager, compile or onnxruntime; or best: whichever of them is fastest for each side",
        "ran_in": "the runtime that the method ran in",
        "against": "the runtime that the plain backbone ran in, as one graph; the method's own, but for best",
        "mean_ms": "ms a sample of the method, as in latency",
        "plain_ms": "ms a sample of the plain backbone",
        "speedup": "how many times faster than the plain backbone, same samples and rounds",
        "speedup_low": "lower end of its 95 % interval (jackknife over turns); empty below ten turns",
        "speedup_high": "its upper end",
        "withheld": "why the speed-up is not to be shown; empty where it may be",
    },
    "energy": {
        **_WHO,
        "path": "plain, or an operating point's name",
        "batch_size": "samples a batch",
        "joules": "joules a sample above idle, measured by NVML's counter over a window of at least ten seconds",
        "gross_joules": "the same with idle power included",
        "idle_watts": "power just before the window",
        "seconds": "length of the window",
        "samples": "samples run in it",
    },
    "summary": {
        **_WHO,
        "name": "which single number; see docs/measures.md for the definitions",
        "value": "its value on test data",
    },
    "shift": {
        **_WHO,
        "kind": "plain, static or dynamic (see curves)",
        "target": "operating point; 'plain' for the backbone",
        "corruption": "what was done to the test split; 'none': nothing",
        "severity": "1 (mild) to 5; 0 for 'none'",
        "knob": "the value chosen on validation data as it is; how many blocks for kind static",
        "score": "the task's metric on the corrupted split",
        "metric": "name of that metric",
        "score_drift": "that score minus the same point's on the test split as it is",
        "drop": "plain backbone's score on the corrupted split minus this one; empty for the plain backbone",
        "drop_low": "lower end of its paired-bootstrap 95 % interval over test samples",
        "drop_high": "its upper end",
        "held": "True when what the knob was chosen for is so here: drop_ by drop, macs_ by gmacs; empty for ms_",
        "mean_exit": "mean number of the block after which samples stop",
        "gmacs": "10^9 multiply-accumulates a sample on the corrupted split, typos' longer texts included",
        "gmacs_drift": "these gmacs over those on the test split as it is, minus 1",
        "speedup_macs": "plain backbone's gmacs on the corrupted split / gmacs",
        "coverage": "share of samples whose prediction set for a miscoverage of 0.1, calibrated on validation data as "
        "they are (general, see conformal), holds the true class; empty for regression",
        "dead_share": "share of samples that stop at an exit that is not live (see exits); dynamic only",
    },
    "slowdown": {
        **_WHO,
        "target": "operating point of a method",
        "knob": "the value chosen on validation data",
        "radius": "most that any pixel changes, as a share of full brightness",
        "steps": "of projected gradient descent",
        "step_size": "of each, as a share of full brightness",
        "samples": "test images attacked, the same for all",
        **{
            f"{name}{which}": f"{meaning} {when}"
            for which, when in {
                "": "on these images as they are",
                "_attacked": "on the attacked images",
                "_noise": "with as much noise in directions drawn at random",
            }.items()
            for name, meaning in {
                "score": "the task's metric",
                "mean_exit": "mean number of the block after which samples stop",
                "gmacs": "10^9 multiply-accumulates a sample",
                "speedup_macs": "plain backbone's gmacs / gmacs",
                "efficacy": "area under the share of samples that have stopped over the share of the full cost",
            }.items()
        },
        "later": "share of samples that stop later when attacked than as they are",
    },
    "reliability": {
        **_WHO,
        "target": "operating point; 'plain' for the backbone",
        "bin": "number of the equal-width confidence bin, from 0",
        "low": "lower edge of the bin",
        "high": "its upper edge",
        "count": "test samples in it",
        "confidence": "their mean confidence",
        "accuracy": "their accuracy",
    },
    "conformal": {
        **_WHO,
        "target": "operating point; 'plain' for the backbone",
        "sets": "general (one quantile for all) or mondrian (one an exit, from samples that stopped there)",
        "alpha": "miscoverage asked for",
        "coverage": "share of test samples whose set holds the true class",
        "size": "mean size of the sets",
    },
    "samples": {
        **_WHO,
        "target": "operating point",
        "stops": "early or late: among the method's first or last samples to stop; equals in a fixed random order",
        "sample": "position in the test split, from 0",
        "exit": "number of the block behind which it stops",
        "correct": "True when the answer given there is right; empty for regression",
        "truth": "the sample's class, or number",
        "answer": "the answer given there",
        "confidence": "largest probability given there; empty for regression",
        "text": "the beginning of its text; empty for images",
        "tile": "number of its thumbnail in samples.npz (tiles); empty where there is no picture of it",
    },
}  # fmt: skip
