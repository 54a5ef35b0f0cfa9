"""The run.json of a simulated run, and the numbers both it and the tables are made of."""

from __future__ import annotations

import hashlib
from typing import Any

LABELS = {
    "pabee": "PABEE",
    "lgvit[blocks=4+8]": "LGViT",
    "palbert": "PALBERT",
    "branchynet": "BranchyNet",
    "berxit": "BERxiT",
    "jei_dnn": "JEI-DNN",
    "pcee": "PCEE",
    "pondernet": "PonderNet",
    "sdn": "SDN",
    "vit_ee": "ViT-EE",
    "ztw": "Zero Time Waste",
    "mine": "Mine & <yours>",  # a stranger's plugin may be called anything: the report must escape it
}
DEPTH, N, BLOCK, MS, GPU_MS = 12, 400, 0.00102, 0.29, 0.21
PLAIN = 0.0001 + DEPTH * BLOCK + 0.00001


VERSION, PROTOCOL = 3, 1


def run_json(name, names, seeds, gpu, regression, troubles, statics=(), budget="standard") -> dict[str, Any]:
    cells = []
    for seed in seeds:
        cells.append(
            {"id": f"backbone-{seed}", "method": "backbone", "label": "backbone", "seed": seed, "status": "done",
             "reason": None, "seconds": 60.5, "params_m": 0.6}
        )  # fmt: skip
        for method in statics:
            cells.append(
                {"id": f"{method}-{seed}", "method": method, "label": method, "seed": seed, "status": "done",
                 "reason": None, "seconds": 30.5, "params_m": 0.3, "card": {}}
            )  # fmt: skip
        for method in names:
            failed = troubles and method == names[-1] and seed == seeds[-1] and len(seeds) > 1
            card = {
                "title": LABELS.get(method) or LABELS[method.partition("[")[0]],
                "paper": "A. Author, B. Author: Stopping early, 2020",
                "link": "https://arxiv.org/abs/2006.04152" if method != "pabee" else "arXiv 2006.04152",
                "bibtex": f"@inproceedings{{{method.split('[')[0]},\n  title = {{Stopping early}},\n  year = 2020\n}}",
                "claims": [
                    {
                        "setting": "BERT-base, SST-2 dev",
                        "metric": "accuracy",
                        "score": 93.0,
                        "baseline": 92.8,
                        "speedup": 1.57,
                        "speedup_measure": "layers",
                        "source": "the paper's table 1",
                    }
                ],
            }
            cells.append(
                {
                    "id": f"{method}-{seed}", "method": method, "label": method, "seed": seed,
                    "status": "failed" if failed else "done",
                    "reason": "loss became NaN in phase 'joint', epoch 3" if failed else None,
                    "seconds": 41.2, "params_m": 0.66, "card": card,
                }
            )  # fmt: skip
        if troubles:
            cells.append(
                {
                    "id": f"text_only-{seed}", "method": "text_only", "label": "text_only", "seed": seed,
                    "status": "skipped", "reason": "needs a text backbone", "params_m": None, "card": {},
                }
            )  # fmt: skip
    sha = hashlib.sha256(name.encode()).hexdigest()
    methods = [*names, *(["text_only"] if troubles else [])]
    return {
        "schema_version": VERSION, "protocol_version": PROTOCOL, "run": name,
        "command": f"eebench run --methods {','.join(names)} --seeds {','.join(map(str, seeds))}",
        "spec": {"methods": methods, "backbone": "vit_micro", "dataset": "digits", "seeds": seeds, "budget": budget,
                 "weights": "none"},
        "spec_sha256": sha, "started": "2026-01-02T03:04:05+00:00", "finished": "2026-01-02T03:12:45+00:00",
        "seconds": 520.0,
        "environment": {
            "python": "3.11.9", "torch": "2.9.0", "timm": "1.0.20", "fvcore": "0.1.5", "eebench": "0.1.0",
            "platform": "Linux-6.1-x86_64", "cpu": "Example CPU @ 2.5 GHz", "cores": 2, "threads": 2,
            "gpu": "Example GPU" if gpu else None, "attention": "fused scaled_dot_product_attention",
            "git_sha": "0123456789abcdef0123456789abcdef01234567", "git_dirty": True, "malloc": "glibc defaults",
        },
        "data": {
            "name": "digits", "modality": "vision",
            "task": {"kind": "regression" if regression else "classification", "classes": 1 if regression else 10,
                     "metric": "pearson_spearman" if regression else "accuracy"},
            "n_train": 1078, "n_val": 319, "n_test": N, "split_sha256": sha[::-1], "image_size": 8, "patch_size": 2,
            "notes": ["8x8 images at their native size"],
        },
        "backbone": {"name": "vit_micro", "depth": DEPTH, "params_m": 0.6, "gmacs": PLAIN, "weights": "none"},
        "macs": {"counter": "fvcore", "convention": "1 MAC = one multiply-accumulate; embeddings and softmax free",
                 "uncounted": {"aten::softmax": 12, "aten::gelu": 12}},
        "cells": cells, "notes": ["timings shared the machine with nothing else"],
    }  # fmt: skip
