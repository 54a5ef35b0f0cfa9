"""A whole run, small: what is recorded, that its tables agree with each other, and what a second run does."""

import io
import json
import math

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from safetensors.torch import load_file
from tiny_text import write

import eebench
from eebench.data import load as load_data
from eebench.data.preprocessing import Preprocessing
from eebench.errors import UserError
from eebench.plugins.registry import Registry
from eebench.progress import Reporter
from eebench.runs.how import Execution
from eebench.runs.runner import execute
from eebench.schema import KINDS, PROTOCOL_VERSION, SCHEMA_VERSION, TABLES
from eebench.targets import SHARES

HERE = Execution(in_process=True)  # a worker is what the smoke run of all tests has
STATIC = ["static[blocks=3]", "static[blocks=12]"]
TARGETS = ("drop_1", *SHARES)
LABELS = ["pabee[blocks=3+6+9]", "jei_dnn[blocks=4+8]"]


@pytest.fixture(scope="module")
def record(smoke):
    def refuse(name):
        raise AssertionError(f"run.json holds {name}")

    return json.loads((smoke.path / "run.json").read_text(), parse_constant=refuse)


def numbers(frame, **where):
    for name, value in where.items():
        frame = frame[frame[name] == value]
    return frame


# --- the record ------------------------------------------------------------------------------------------------------


def test_what_is_recorded(smoke, record):
    assert record["schema_version"] == SCHEMA_VERSION
    assert record["protocol_version"] == PROTOCOL_VERSION
    assert record["spec"] == smoke.spec.model_dump(mode="json")
    assert record["spec_sha256"] == smoke.spec.sha256
    assert record["run"] == smoke.spec.run_name == smoke.path.name
    assert record["started"] <= record["finished"]
    assert record["environment"]["threads"] >= 1
    assert {"torch", "timm", "cpu", "git_sha", "git_dirty"} <= record["environment"].keys()
    data = record["data"]
    assert (data["n_train"], data["n_val"], data["n_test"]) == (128, 64, 64)
    assert len(data["split_sha256"]) == 64
    assert (data["image_size"], data["patch_size"]) == (8, 2)
    assert Preprocessing.from_dict(data["preprocessing"]) == load_data("digits").preprocessing
    assert (data["augment"], data["official"], set(data["copies"].values())) == ("none", [], {0})
    assert record["backbone"]["depth"] == 12
    assert record["macs"]["counter"] == "fvcore"
    assert set(record["macs"]["uncounted"]) == {"add", "gelu", "tanh", *record["macs"]["uncounted"]}
    assert "smoke" in record["notes"][0]


def test_what_became_of_each_cell(smoke, record):
    cells = {c["label"]: c for c in record["cells"]}
    assert {label: c["status"] for label, c in cells.items()} == {
        "backbone": "done",
        **dict.fromkeys([*STATIC, *LABELS], "done"),
        "failing": "failed",
        "shy": "skipped",
    }
    assert cells["failing"]["reason"] == "ArithmeticError: this loss always raises"
    assert cells["shy"]["reason"] == "it needs text, and this backbone takes images"
    for label in ("backbone", *STATIC, *LABELS):
        assert (smoke.path / "cells" / cells[label]["id"] / "cell.json").exists()
        assert not cells[label]["reused"]
        assert cells[label]["phases"]
    (log,) = smoke.path.glob("failed-*.log")
    assert "ArithmeticError" in log.read_text()
    assert cells[LABELS[0]]["card"]["title"]


def test_nothing_else_is_left_behind(smoke):
    assert [p.name for p in smoke.results.iterdir()] == [smoke.path.name]
    assert not list(smoke.path.rglob(".*"))


# --- the tables ------------------------------------------------------------------------------------------------------


def test_tables_are_the_files_and_have_the_documented_columns(smoke):
    for name, columns in TABLES.items():
        path = smoke.path / f"{name}.csv"
        if name in ("energy", "runtimes", "search", "shift", "slowdown"):  # on GPUs only; where they were asked for
            continue
        assert path.read_text().splitlines()[0].split(",") == list(columns)
        frame = smoke.tables[name]
        assert len(frame) > 0, name
        pd.testing.assert_frame_equal(frame, pd.read_csv(path))
        assert frame.attrs["path"] == str(smoke.path)
        for column in {"method", "method_a", "method_b"} & set(columns):
            assert set(frame[column]) <= {"backbone", "static", *STATIC, *LABELS}
        if "seed" in columns:
            assert set(frame["seed"]) == {0}


def test_every_kind_is_in_every_methods_curve(smoke):
    curves = smoke.tables["curves"]
    assert set(curves["kind"]) == set(KINDS)
    for label in LABELS:
        for split in ("val", "test"):
            mine = numbers(curves, method=label, split=split)
            assert set(mine["kind"]) == set(KINDS) - {"plain", "static"}
            dynamic, drawn = (numbers(mine, kind=kind) for kind in ("dynamic", "random"))
            assert dynamic["knob"].tolist() == drawn["knob"].tolist()
            np.testing.assert_allclose(dynamic["gmacs"], drawn["gmacs"], rtol=1e-8)
            np.testing.assert_allclose(dynamic["mean_exit"], drawn["mean_exit"], rtol=1e-8)
            (bound,) = numbers(mine, kind="oracle")["accuracy"]
            assert bound >= numbers(mine, kind="fixed")["accuracy"].max()
            assert bound >= dynamic["accuracy"].max()
            assert bound >= drawn["accuracy"].max()
    assert numbers(curves, method="backbone")["kind"].tolist() == ["plain", "plain"]


def test_costs_add_up_and_speedups_follow(smoke):
    curves = smoke.tables["curves"]
    parts = curves["gmacs_backbone"] + curves["gmacs_heads"] + curves["gmacs_gates"]
    np.testing.assert_allclose(parts, curves["gmacs"], rtol=1e-7)
    plain = numbers(curves, kind="plain", split="test")["gmacs"].item()
    np.testing.assert_allclose(curves["speedup_macs"], plain / curves["gmacs"], rtol=1e-6)
    np.testing.assert_allclose(curves["speedup_layers"], 12 / curves["mean_exit"], rtol=1e-6)
    assert (numbers(curves, method=LABELS[1], kind="dynamic")["gmacs_gates"] > 0).all()
    assert (numbers(curves, method=LABELS[0], kind="dynamic")["gmacs_gates"] == 0).all()
    never = numbers(curves, method=LABELS[0], kind="dynamic").sort_values("mean_exit").iloc[-1]
    assert never["mean_exit"] == 12
    assert never["gmacs"] > plain  # three heads that nobody took are charged


def test_the_last_exit_of_a_frozen_backbone_is_the_plain_backbone(smoke):
    curves = smoke.tables["curves"]
    for split in ("val", "test"):
        plain = numbers(curves, kind="plain", split=split).iloc[0]
        last = numbers(curves, method=LABELS[1], kind="fixed", split=split, knob=12.0).iloc[0]
        for name in ("accuracy", "gmacs", "nll", "brier", "ece"):
            assert last[name] == pytest.approx(plain[name], rel=1e-5), name


def test_operating_points_are_rows_of_the_curves(smoke):
    points, curves = smoke.tables["operating_points"], smoke.tables["curves"]
    for label in LABELS:
        for kind in ("dynamic", "fixed", "random", "oracle"):
            mine = numbers(points, method=label, kind=kind)
            assert mine["target"].tolist() == list(TARGETS)
            for _, point in mine.iterrows():
                for split, score, gmacs in (("test", "score", "gmacs"), ("val", "val_score", "val_gmacs")):
                    rows = numbers(curves, method=label, kind=kind, split=split)
                    row = rows if kind == "oracle" else rows[np.isclose(rows["knob"], point["knob"], rtol=1e-8)]
                    assert row["score"].item() == pytest.approx(point[score])
                    assert row["gmacs"].item() == pytest.approx(point[gmacs])
    plain = numbers(curves, kind="plain", split="test")["score"].item()
    np.testing.assert_allclose(points["drop"], plain - points["score"], atol=1e-8)


def test_shares_of_samples_sum_to_one(smoke):
    shares = smoke.tables["shares"]
    for label in LABELS:
        for split in ("val", "test"):
            for target in TARGETS:
                mine = numbers(shares, method=label, split=split, target=target)
                assert mine["share"].sum() == pytest.approx(1)
                stopped = (mine["share"] * mine["exit"]).sum()
                if split == "test":
                    points = numbers(smoke.tables["operating_points"], method=label, kind="dynamic", target=target)
                    assert points["mean_exit"].item() == pytest.approx(stopped)


def test_latency_is_measured_in_the_same_rounds_and_raw_times_are_kept(smoke):
    latency, points = smoke.tables["latency"], smoke.tables["operating_points"]
    assert set(latency["device"]) >= {"cpu"}
    raw = np.load(smoke.path / "latency-s0.npz")
    names = {f"{row.method}|{row.device}|{row.scenario}|{row.batch_size}|{row.path}" for row in latency.itertuples()}
    assert set(raw.files) == names | {f"{name}|cpu" for name in names}
    for row in latency.itertuples():
        times = raw[f"{row.method}|{row.device}|{row.scenario}|{row.batch_size}|{row.path}"]
        assert row.n == times.size
        assert row.rounds == len(times)
        if row.path not in TARGETS:  # those are weighted by exits
            assert row.wall_ms == pytest.approx(np.median(times, 0).mean())
        assert row.mean_ms == (row.wall_ms if row.basis == "wall" else row.cpu_ms)
        assert (times > 0).all()
    plain = raw["backbone|cpu|single|1|plain"]
    assert plain.shape[1] == 8  # eight samples were asked for
    assert len(plain) >= 2
    for _, point in points[points["kind"] == "dynamic"].iterrows():
        mine = raw[f"{point['method']}|cpu|single|1|{point['target']}"]
        assert mine.shape[1] == plain.shape[1]
        assert np.isfinite(point["speedup_cpu"]) != (point["withheld_cpu"] == point["withheld_cpu"])
        assert np.isnan(point["speedup_cpu_low"]), "eight samples are one turn"
    (timing,) = json.loads((smoke.path / "run.json").read_text())["timing"]
    assert timing["rounds"] == len(plain) == len(timing["others_cores"])
    assert set(latency["basis"]) == {timing["basis"]}
    assert points.loc[points["kind"].isin(["random", "oracle"]), "speedup_cpu"].isna().all()


def test_there_is_a_forced_path_for_every_exit(smoke):
    paths = set(numbers(smoke.tables["latency"], method=LABELS[0])["path"])
    assert {"exit_3", "exit_6", "exit_9", "exit_12"} <= paths
    assert set(TARGETS) <= paths


def test_thresholds_that_nobody_has(smoke, plugin, tmp_path):
    spec = smoke.spec.model_copy(update={"methods": ("pabee",), "thresholds": (2.0, 3.0)})
    with pytest.raises(UserError, match="--thresholds: none of pabee has a threshold to sweep"):
        told(spec, Registry.installed([plugin]), tmp_path)


# --- a second run ----------------------------------------------------------------------------------------------------


def told(spec, registry, results, **options):
    """Run; the outcome, and everything that was said."""
    console = Console(file=io.StringIO(), width=200)
    outcome = execute(spec, registry, results, reporter=Reporter(console), how=HERE, **options)
    return outcome, console.file.getvalue().splitlines()


def test_a_second_run_reuses_and_says_so(smoke, plugin, copied):
    outcome, lines = told(smoke.spec, Registry.installed([plugin]), copied)
    assert [line for line in lines if line.endswith(": reused")] == [
        f"{label} seed 0: reused" for label in ("backbone", *STATIC, *LABELS)
    ]
    assert not [line for line in lines if " epochs: " in line and "failing" not in line]
    notes = json.loads((outcome.path / "run.json").read_text())["notes"]
    assert "jei_dnn[blocks=4+8] trains 2 epochs, not 1: one for each of its phases" in notes
    assert {c["label"]: c.get("reused") for c in outcome.cells if c["status"] == "done"} == {
        "backbone": True,
        **dict.fromkeys([*STATIC, *LABELS], True),
    }
    assert outcome.path == copied / smoke.path.name
    for name in ("curves", "exits", "shares", "reliability", "conformal", "summary"):  # all but what a clock measured
        assert (outcome.path / f"{name}.csv").read_text() == (smoke.path / f"{name}.csv").read_text()
    assert [c["label"] for c in outcome.failed] == ["failing"]  # tried again


def test_forced_it_redoes_them_bit_for_bit(smoke, plugin, copied):
    before = {path.name: path.stat().st_ino for path in (copied / smoke.path.name / "cells").iterdir()}
    outcome, lines = told(smoke.spec, Registry.installed([plugin]), copied, force=True)
    assert not [line for line in lines if line.endswith(": reused")]
    for cell in outcome.cells:
        if cell["status"] != "done":
            continue
        assert cell["reused"] is False
        here, there = (folder / "cells" / cell["id"] for folder in (outcome.path, smoke.path))
        assert here.stat().st_ino != before[cell["id"]]
        first, second = (load_file(folder / "weights.safetensors") for folder in (here, there))
        assert first.keys() == second.keys()
        assert all((first[name] == second[name]).all() for name in first)


def test_a_sister_run_takes_what_is_there_and_trains_the_rest(smoke, copied):
    label = LABELS[1]
    spec = eebench.make_spec(
        methods=(label,),
        seeds=(0, 1),
        budget="smoke",
        dataset="digits",
        device="cpu",
        latency_samples=4,
        latency_batch_sizes=(1, 4),
        thresholds=(0.2, 0.6),
        static=(),
    )
    outcome, lines = told(spec, Registry.installed(), copied)
    assert [line for line in lines if "reused" in line] == ["backbone seed 0: reused", f"{label} seed 0: reused"]
    weights = {}
    for cell in outcome.cells:
        weights[cell["label"], cell["seed"]] = outcome.path / "cells" / cell["id"] / "weights.safetensors"
        assert cell["reused"] == (cell["seed"] == 0)
        if cell["reused"]:
            theirs = copied / smoke.path.name / "cells" / cell["id"] / "weights.safetensors"
            assert weights[cell["label"], 0].samefile(theirs)
    first, second = (load_file(weights["backbone", seed]) for seed in (0, 1))
    assert any((first[name] != second[name]).any() for name in first)
    curves, points, latency = (
        pd.read_csv(outcome.path / f"{n}.csv") for n in ("curves", "operating_points", "latency")
    )
    for seed in (0, 1):
        knobs = set(numbers(curves, kind="dynamic", split="test", seed=seed)["knob"])
        assert {0.2, 0.6} < knobs
        assert len(knobs) == 3  # and the one at which nobody stops
        assert set(numbers(latency, seed=seed)["scenario"]) == {"single", "batch", "wait"}
        dynamic = numbers(points, seed=seed, kind="dynamic")
        assert (dynamic["speedup_cpu"].notna() | dynamic["withheld_cpu"].notna()).all()
        assert (outcome.path / f"latency-s{seed}.npz").exists()
        plain = numbers(curves, kind="plain", split="test", seed=seed)["score"].item()
        mine = numbers(points, seed=seed)
        np.testing.assert_allclose(mine["drop"], plain - mine["score"], atol=1e-8)


# --- from Python -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"methods": ("pabe",)}, "did you mean 'pabee'"),
        ({"methods": ("pabee",), "backbone": "vit_bb"}, "unknown backbone 'vit_bb'"),
        ({"methods": ("pabee",), "dataset": "digit"}, "did you mean 'digits'"),
        ({"methods": ("pabee",), "weights": "none.safetensors"}, "there is no weights file"),
        ({"methods": ("pabee[blocks=12]",)}, "blocks=12"),
        ({"methods": ("pabee",), "device": "abacus"}, "'abacus' is no device"),
        ({"thresholds": ()}, "--thresholds"),
    ],
)
def test_bad_input_is_one_line_before_anything_is_written(values, words, tmp_path):
    with pytest.raises(UserError, match=words) as caught:
        eebench.run(results=tmp_path / "results", how=HERE, **values)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_results_folder_that_is_a_file(tmp_path):
    (tmp_path / "results").write_text("mine")
    with pytest.raises(UserError, match="is a file"):
        eebench.run(results=tmp_path / "results", methods=("pabee",), how=HERE)
    assert (tmp_path / "results").read_text() == "mine"


def test_a_broken_plugin_that_was_handed_over_is_an_error(tmp_path):
    (tmp_path / "bad.py").write_text("import no_such_library")
    with pytest.raises(UserError, match=r"bad\.py cannot be imported"):
        eebench.run(results=tmp_path / "results", plugins=[tmp_path / "bad.py"], methods=("pabee",), how=HERE)
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            "build = lambda self, backbone, task: {}[1]",
            "method 'failing' cannot be built here: KeyError: 1; try: eebench check",
        ),
        ("build = lambda self, backbone, task: {13: None}", "ValueError: exits behind blocks \\[13\\]"),
        ("build = lambda self, backbone, task: {3: None}", "behind block 3 there is a NoneType, no ExitHead"),
        ("rule = lambda self, task: 1 / 0", "its rule\\(\\) raised ZeroDivisionError"),
        (
            "phases = lambda self, task: [Phase('half', self.loss, share=0.5)]",
            "the shares of its phases sum to 0.5, not 1",
        ),
    ],
)
def test_a_method_that_cannot_be_built_is_named_before_any_work(change, words, plugin, tmp_path):
    (tmp_path / "odd.py").write_text(f"{plugin.read_text()}\nFailing.{change}\n")
    with pytest.raises(UserError, match=words):
        eebench.run(
            results=tmp_path / "results", plugins=[tmp_path / "odd.py"], methods=("failing",), budget="smoke", how=HERE
        )
    assert not (tmp_path / "results").exists()


def test_a_spec_or_its_fields_but_not_both():
    with pytest.raises(TypeError, match="not both"):
        eebench.run(eebench.make_spec(), budget="smoke")


def test_scores_are_plausible_numbers(smoke):
    for name in ("curves", "operating_points", "exits"):
        frame = smoke.tables[name]
        assert frame["accuracy"].between(0, 1).all()
        assert frame["score"].tolist() == frame["accuracy"].tolist()
        assert set(frame["metric"]) == {"accuracy"}
    assert all(math.isfinite(value) for value in smoke.tables["curves"]["gmacs"])


# --- text ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """A tiny BERT and a data set of texts of many lengths: folder of the model, folder of the texts."""
    folder = tmp_path_factory.mktemp("texts")
    write(folder / "bert", "bert")
    rng = np.random.default_rng(0)
    words = "the quick brown fox jumps over the lazy dog who wrote the first book about ships and a sea".split()
    for split, samples in (("train", 65), ("validation", 24), ("test", 24)):
        rows = [" ".join(rng.choice(words, rng.integers(2, 20))) for _ in range(samples)]
        labels = [("fox" if "fox" in row else "none") for row in rows]
        pd.DataFrame({"text": rows, "label": labels}).to_csv(folder / f"{split}.csv", index=False)
    return folder / "bert", folder


def test_texts_cost_what_their_own_lengths_cost(texts, tmp_path):
    model, folder = texts
    tables = eebench.run(
        results=tmp_path,
        how=HERE,
        methods=("jei_dnn[blocks=1+2]", "pabee[blocks=2]"),
        backbone=str(model),
        dataset=f"csv:{folder}",
        budget="smoke",
        device="cpu",
        latency_samples=4,
        static=(0.5,),
    )
    (path,) = tmp_path.iterdir()
    record = json.loads((path / "run.json").read_text())
    assert {c["label"]: c["status"] for c in record["cells"]} == {
        "backbone": "done",
        "static[blocks=2]": "done",
        "jei_dnn[blocks=1+2]": "done",
        "pabee[blocks=2]": "done",
    }
    assert record["backbone"]["weights"] == "its own"
    assert len(record["backbone"]["weights_sha256"]) == 64
    cell = next(c["id"] for c in record["cells"] if c["label"] == "pabee[blocks=2]")
    with np.load(path / "cells" / cell / "costs-test.npz") as costs:
        assert costs["plain"].shape == (24, 1)
        assert len(np.unique(costs["plain"])) > 5
        total = costs["backbone"] + costs["heads"] + costs["gates"]
        fixed = numbers(tables["curves"], method="pabee[blocks=2]", kind="dynamic", split="test", mean_exit=4.0)
        assert fixed["gmacs"].iloc[0] == pytest.approx(total[:, -1].mean() / 1e9)


def test_a_text_backbone_takes_no_weights_and_no_images(texts, tmp_path):
    model, folder = texts
    with pytest.raises(UserError, match="a text backbone brings its own weights"):
        eebench.run(
            results=tmp_path, backbone=str(model), dataset=f"csv:{folder}", weights="timm", methods=("pabee",), how=HERE
        )
    with pytest.raises(UserError, match="takes text, but data set 'mnist5k' is vision"):
        eebench.run(results=tmp_path, backbone=str(model), methods=("pabee",), how=HERE)
    assert list(tmp_path.iterdir()) == []
