"""The tables of a page of several runs, as they are written and shown."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from eebench.report.matrix import Matrix, machine_of

__all__ = ["MatrixTables", "matrix_tables"]


@dataclass(frozen=True)
class MatrixTables:
    """What is written to tables/ and shown: a row a task and method, a rank, a pair, a clock, a run."""

    standings: pd.DataFrame
    ranks: pd.DataFrame
    pairs: pd.DataFrame
    clocks: pd.DataFrame
    runs: pd.DataFrame


def matrix_tables(matrix: Matrix) -> MatrixTables:
    """Work them out."""
    columns = [
        "target", "task", "data", "method", "label", "kind", "seeds", "score", "drop", "drop_low", "drop_high",
        "speedup_macs", "speedup_macs_low", "speedup_macs_high", "mean_exit", "met", "on_target", "dead", "ranks",
    ]  # fmt: skip
    standings = pd.concat([matrix.standings(name).assign(target=name) for name in matrix.targets], ignore_index=True)
    ranks, pairs = [], []
    for name in matrix.targets:
        found = matrix.ranking(name)
        test = found.difference
        for place, (method, rank) in enumerate(zip(found.methods, found.ranks, strict=True)):
            row = {"target": name, "method": method, "label": matrix.labels.get(method, method), "mean_rank": rank}
            row["friedman_p"] = np.nan if test is None else test.p
            row["critical_difference"] = np.nan if test is None else test.difference
            row["group"] = "" if test is None else "+".join(str(i) for i, g in enumerate(test.groups) if place in g)
            ranks.append(row)
        pairs.append(matrix.duels(name).assign(target=name))
    clocked = [
        "machine", "task", "run", "method", "label", "seeds", "cpu_mean_ms", "speedup_cpu", "speedup_cpu_low",
        "speedup_cpu_high", "withheld_cpu", "gpu_mean_ms", "speedup_gpu", "speedup_gpu_low", "speedup_gpu_high",
        "withheld_gpu",
    ]  # fmt: skip
    runs = [
        {"run": record.run["run"], "task": task.title, "machine": machine_of(record), "seeds": len(record.seeds),
         "budget": record.run["spec"].get("budget"), "metric": record.metric, "finished": record.run.get("finished"),
         "imported": record.run.get("imported") is not None}
        for task in matrix.tasks for record in task.records
    ]  # fmt: skip
    duels = pd.concat(pairs, ignore_index=True)[["target", "method_a", "method_b", "wins", "ties", "losses"]]
    return MatrixTables(
        standings[columns], pd.DataFrame(ranks), duels, matrix.clocks().reindex(columns=clocked), pd.DataFrame(runs)
    )
