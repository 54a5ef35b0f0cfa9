"""Static models depth by depth: each depth is one decision for all seeds, and competes as a row of its own."""

from __future__ import annotations

import numpy as np
import pandas as pd

from eebench.report.frames import STATIC, Record
from eebench.report.targets import Target, target
from eebench.schema import static_label

__all__ = ["static_points"]

_SURE = 1.281552  # one-sided 90 %, as operating points are chosen on
_WIDE = 1.959964  # two-sided 95 %


def static_points(record: Record) -> pd.DataFrame:
    """Rows like those of operating_points.csv for every static model, at every target, a row a seed.

    The record chooses a depth a seed; a reader trains one depth. Whether a depth meets a target is judged by its mean
    over seeds on validation data, with a margin where the record's choices have one. What the record measured of a
    depth that it chose (intervals, speed-ups, reasons to withhold them) is kept; the interval of another's loss is that
    of two unpaired groups of samples, too wide rather than too narrow.
    """
    rows = record.test("static")
    if rows.empty:
        return pd.DataFrame()
    val = record.val("static").set_index(["seed", "knob"])[["score", "gmacs"]].add_prefix("val_")
    plain_val, plain = (table.set_index("seed") for table in (record.val("plain"), record.plain))
    rows = rows.join(val, on=["seed", "knob"])
    rows = rows.assign(
        method=[static_label(int(k)) for k in rows["knob"]],
        drop=rows["seed"].map(plain["score"]) - rows["score"],
        val_drop=rows["seed"].map(plain_val["score"]) - rows["val_score"],
        val_share=rows["val_gmacs"] / rows["seed"].map(plain_val["gmacs"]),
        choose=record.points["choose"].iloc[0] if len(record.points) else "naive",
        withheld_cpu="", withheld_gpu="", dead_share=0.0,
    )  # fmt: skip
    half = _WIDE * _noise(record, rows["score"], rows["seed"].map(plain["score"]), "n_test")
    rows = rows.assign(drop_low=rows["drop"] - half, drop_high=rows["drop"] + half)
    return pd.concat([_at(record, rows, target(name)) for name in record.targets], ignore_index=True)


def _at(record: Record, rows: pd.DataFrame, wanted: Target) -> pd.DataFrame:
    """The rows at one target, with what the record itself measured of the depths that it chose."""
    found = rows.assign(target=wanted.name, met=rows["method"].map(_met(record, rows, wanted)).astype(bool))
    told = record.points[(record.points["kind"] == "static") & (record.points["target"] == wanted.name)]
    told = told.assign(method=[static_label(int(k)) for k in told["knob"]]).set_index(["method", "seed"])
    told = told[~told.index.duplicated()]
    kept = ["drop_low", "drop_high", "over_frontier", "over_frontier_low", "over_frontier_high"]
    kept += [f"speedup_{c}{end}" for c in ("macs", "cpu", "gpu") for end in ("", "_low", "_high")]
    kept += ["withheld_cpu", "withheld_gpu"]
    keys = pd.MultiIndex.from_frame(found[["method", "seed"]])
    here = keys.isin(told.index)
    for name in kept:
        if name in told and here.any():
            values = told[name].reindex(keys[here]).to_numpy()
            mine = found[name].to_numpy(object) if name in found else np.full(len(found), np.nan, object)
            mine[here] = np.where(pd.isna(values), mine[here], values)
            found[name] = mine if name.startswith("withheld_") else mine.astype(float)
    whole = found.assign(here=here).groupby("method")["here"].transform("all")
    for name in ("macs", "cpu", "gpu"):  # a mean over some seeds only would not belong to the mean over all
        ends = [f"speedup_{name}_low", f"speedup_{name}_high"]
        if set(ends) <= set(found):
            found.loc[~whole, ends] = np.nan
    return found


def _met(record: Record, rows: pd.DataFrame, wanted: Target) -> pd.Series:
    """Whether validation data vouch for each depth, by its mean over seeds."""
    means = rows.groupby("method")[["val_drop", "val_share", "val_score"]].mean()
    if wanted.kind == "drop":
        seeds = rows.groupby("method")["seed"].nunique()
        noise = _noise(record, means["val_score"], means["val_score"] + means["val_drop"], "n_val")
        margin = _SURE * noise / np.sqrt(seeds) if (rows["choose"] == "upper").any() else 0.0
        return means["val_drop"] + margin <= wanted.amount / 100 + 1e-9
    if wanted.kind == "macs":
        return means["val_share"] <= wanted.amount / 100 * (1 + 1e-9)
    if wanted.kind == "ms":
        times = record.single[(record.single["method"] == STATIC) & (record.single["device"] == "cpu")]
        paths = times["path"].str.extract(r"^blocks_(\d+)$", expand=False)
        ms = times.assign(method=[static_label(int(p)) if isinstance(p, str) else "" for p in paths])
        return means.index.to_series().map(ms.groupby("method")["mean_ms"].mean()) <= wanted.amount
    return means["val_score"].notna()


def _noise(record: Record, a: pd.Series, b: pd.Series, size: str) -> pd.Series:
    """Standard error of a difference of two accuracies over unpaired samples; NaN for other metrics."""
    n = record.run["data"].get(size)
    if record.metric != "accuracy" or not n:
        return pd.Series(np.nan, a.index)
    return np.sqrt((a * (1 - a) + b * (1 - b)) / n)
