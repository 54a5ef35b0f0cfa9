"""Several runs on one page: ranks by hand, what is refused, clocks that are never ranked."""

import json
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from eebench.errors import UserError
from eebench.measure import critical_difference
from eebench.report.matrix import Matrix, Task, _duel, load_matrix
from eebench.report.matrix_page import matrix_answer, matrix_values, render_matrix
from tests.report.fake_race import rule
from tests.report.fake_run import write_run

pytestmark = pytest.mark.filterwarnings("ignore::eebench.manifest.UnverifiedWarning")


def change(path, **sections):
    """A run under another name, on other data, from another machine."""
    run = json.loads((path / "run.json").read_text())
    run["run"] = path.name
    for section, values in sections.items():
        run[section] = run[section] | values if isinstance(values, dict) else values
    (path / "run.json").write_text(json.dumps(run))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three data sets and a second backbone on the first: four runs of three methods and static models."""
    home = tmp_path_factory.mktemp("matrix")
    for name, backbone, data in (
        ("a-micro", "vit_micro", "apples"),
        ("a-ti", "vit_ti", "apples"),
        ("b-micro", "vit_micro", "berries"),
        ("c-micro", "vit_micro", "cherries"),
    ):
        path = write_run(home / name, 3, seeds=(0, 1, 2), statics=(3, 6), troubles=False)
        change(path, data={"name": data, "split_sha256": data}, backbone={"name": backbone}, spec={"dataset": data})
    return home


@pytest.fixture(scope="module")
def matrix(folder):
    return load_matrix("fruit", sorted(folder.iterdir()))


# --- ranks -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ByHand(Matrix):
    """A matrix whose standings are given."""

    rows: list = field(default_factory=list)

    def standings(self, name):
        return pd.DataFrame(self.rows)


def by_hand(values, data):
    """``values``: task -> method -> what ranks."""
    tasks = [Task(task, data[task], []) for task in values]
    rows = [
        {"task": task, "method": method, "value": value} for task, of in values.items() for method, value in of.items()
    ]
    return ByHand("hand", tasks, [], (), rows)


def test_mean_ranks_by_hand():
    """Tasks of one data set are averaged first: on x the ranks are 1, 2.5, 2.5 and 2, 1, 3."""
    values = {
        "x1": {"p": 3.0, "q": 2.0, "r": 2.0},
        "x2": {"p": 2.0, "q": 3.0, "r": 1.0},
        "y": {"p": 1.0, "q": 3.0, "r": 2.0},
        "z": {"p": 5.0, "q": 4.0, "r": -2.0},
    }
    found = by_hand(values, {"x1": "x", "x2": "x", "y": "y", "z": "z"}).ranking("drop_1")
    # x: p 1.5, q 1.75, r 2.75 -> ranks 1, 2, 3; y: 3, 1, 2; z: 1, 2, 3
    assert dict(zip(found.methods, found.ranks, strict=True)) == pytest.approx({"p": 5 / 3, "q": 5 / 3, "r": 8 / 3})
    wanted = critical_difference([[3, 2, 1], [1, 3, 2], [3, 2, 1]])
    assert found.difference.p == pytest.approx(wanted.p)
    assert found.difference.difference == pytest.approx(wanted.difference)
    assert found.difference.blocks == 3
    assert found.difference.groups == ((0, 1, 2),)
    assert not found.apart


def test_ranks_that_are_apart_and_groups_in_the_order_of_the_ranks():
    data = {f"d{i}": f"d{i}" for i in range(12)}
    values = {name: {"z": 4.0, "b": 3.0, "a": 2.0, "c": 1.0} for name in data}
    found = by_hand(values, data).ranking("drop_1")
    assert found.methods == ["z", "b", "a", "c"]
    assert found.apart
    assert found.difference.groups == ((0, 1), (1, 2), (2, 3))


def test_a_method_that_some_task_lacks_is_left_out_by_name():
    values = {"x": {"p": 2.0, "q": 1.0, "r": 3.0, "s": 0.5}, "y": {"p": 2.0, "q": 1.0, "s": 0.5}}
    found = by_hand(values, {"x": "x", "y": "y"}).ranking("drop_1")
    assert found.left_out == ["r"]
    assert found.methods == ["p", "q", "s"]


def test_one_data_set_has_no_test_and_says_why():
    values = {"x1": {"p": 2.0, "q": 1.0, "r": 0.5}, "x2": {"p": 2.0, "q": 1.0, "r": 0.5}}
    found = by_hand(values, {"x1": "x", "x2": "x"}).ranking("drop_1")
    assert found.difference is None
    assert found.why == "a test over data sets takes two of them and three methods, not 1 and 3"
    assert found.methods == ["p", "q", "r"]


def test_the_same_cost_summed_in_another_order_ties():
    values = {"x": {"p": 0.1 + 0.2, "q": 0.3, "r": 0.1}, "y": {"p": 0.3, "q": 0.1 + 0.2, "r": 0.1}}
    assert by_hand(values, {"x": "x", "y": "y"}).ranking("drop_1").ranks == [1.5, 1.5, 3.0]


def test_standings_rank_speed_at_a_loss_and_score_at_a_cost(matrix):
    for name in matrix.targets:
        rows = matrix.standings(name)
        takes = rows["ranks"]
        wanted = rows["speedup_macs" if name.startswith("drop") else "score"]
        assert takes.any()
        np.testing.assert_array_equal(rows.loc[takes, "value"], wanted[takes])
        assert (rows.loc[~takes, "value"] == -2).all()
        assert (rows.loc[takes, "on_target"] & ~rows.loc[takes, "dead"]).all()
        assert set(rows["kind"]) == {"plain", "static", "dynamic"}


# --- pairs -----------------------------------------------------------------------------------------------------------


def test_ahead_is_what_a_report_of_one_run_calls_it():
    fast, slow = (rule(name, 2.0, speedup_macs=v, speedup_macs_low=v - 0.1, speedup_macs_high=v + 0.1)
                  for name, v in (("fast", 3.0), ("slow", 2.0)))  # fmt: skip
    missed = rule("missed", 2.0, speedup_macs=9.0, on_target=False)
    gone = rule("gone", 2.0, speedup_macs=9.0, on_target=False)
    of = SimpleNamespace(
        ranks=lambda row: row["on_target"], beats=lambda a, b: a["speedup_macs_low"] > b["speedup_macs_high"]
    )
    assert _duel(of, fast, slow) == 1
    assert _duel(of, slow, fast) == -1
    assert _duel(of, fast, fast) == 0
    assert _duel(of, slow, missed) == 1, "whoever kept the target is ahead of whoever did not"
    assert _duel(of, missed, gone) == 0


def test_every_pair_meets_once_a_task_and_the_counts_are_those_of_the_tasks(matrix):
    for name in matrix.targets:
        duels = matrix.duels(name)
        methods = set(matrix.standings(name)["method"])
        assert len(duels) == len(methods) * (len(methods) - 1) / 2
        assert (duels[["wins", "ties", "losses"]].sum(axis=1) == len(matrix.tasks)).all()
        for _, row in duels.iterrows():
            outcomes = []
            for task in matrix.tasks:
                of = task.race(name)
                rows = of.rows.set_index("method", drop=False)
                outcomes.append(_duel(of, rows.loc[row["method_a"]], rows.loc[row["method_b"]]))
            assert [outcomes.count(one) for one in (1, 0, -1)] == [row["wins"], row["ties"], row["losses"]]


# --- what may stand together -----------------------------------------------------------------------------------------


def copy(source, target, **sections):
    import shutil

    shutil.copytree(source, target)
    return change(target, **sections)


REFUSED = {
    "protocol": ({"protocol_version": 99}, "their numbers were made by other rules"),
    "split": ({"data": {"split_sha256": "other"}}, "another split of apples in a-micro and x"),
    "metric": (
        {"data": {"task": {"kind": "classification", "classes": 10, "metric": "mcc", "labels": []}}},
        "accuracy and mcc as the metric in a-micro and x",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_compared_is_refused_in_one_line(case, folder, tmp_path):
    sections, words = REFUSED[case]
    other = copy(folder / "a-micro", tmp_path / "x", **sections)
    with pytest.raises(UserError) as caught:
        load_matrix("no", [folder / "a-micro", other])
    assert str(caught.value).startswith("these runs cannot be compared: ")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_one_model_with_two_results_is_refused(folder, tmp_path):
    other = copy(folder / "a-micro", tmp_path / "x")
    points = pd.read_csv(other / "operating_points.csv")
    points["score"] += 0.01
    points.to_csv(other / "operating_points.csv", index=False)
    with pytest.raises(UserError, match="has one result in a-micro and another in x; leave one of them out"):
        load_matrix("no", [folder / "a-micro", other])


def test_too_few_runs_or_one_twice_or_no_common_target(folder, tmp_path):
    with pytest.raises(UserError, match=r"two finished runs or more .*without a record: later"):
        load_matrix("no", [folder / "a-micro"], ["later"])
    with pytest.raises(UserError, match="a run is named twice"):
        load_matrix("no", [folder / "a-micro", folder / "a-micro"])
    other = copy(folder / "b-micro", tmp_path / "x")
    for name in ("operating_points", "pairs", "tiers", "headlines", "shares", "reliability", "conformal"):
        path = other / f"{name}.csv"
        if not path.exists():
            continue
        table = pd.read_csv(path)
        table["target"] = table["target"].replace({"drop_1": "drop_3", "macs_75": "macs_80", "macs_50": "macs_45",
                                                   "macs_25": "macs_20"})  # fmt: skip
        table.to_csv(path, index=False)
    with pytest.raises(UserError, match="no target in common"):
        load_matrix("no", [folder / "a-micro", other])


def test_seeds_made_apart_are_one_task(folder, tmp_path):
    later = write_run(tmp_path / "later", 3, seeds=(3, 4), statics=(3, 6), troubles=False)
    change(later, data={"name": "apples", "split_sha256": "apples"}, spec={"dataset": "apples"})
    found = load_matrix("apart", [folder / "a-micro", folder / "b-micro", later])
    assert [(task.data, len(task.records)) for task in found.tasks] == [("apples", 2), ("berries", 1)]
    rows = found.standings("macs_50").query("data == 'apples' and kind == 'dynamic'")
    assert set(rows["seeds"]) == {5}
    alone = [pd.read_csv(path / "operating_points.csv") for path in (folder / "a-micro", later)]
    both = pd.concat(alone).query("target == 'macs_50' and kind == 'dynamic'").groupby("method")["score"].mean()
    assert rows.set_index("method")["score"].to_dict() == pytest.approx(both.to_dict())


def test_clocks_of_two_machines_stand_side_by_side_and_change_no_rank(folder, matrix, tmp_path):
    far = copy(folder / "a-micro", tmp_path / "far", environment={"cpu": "Abacus 9000"})
    points = pd.read_csv(far / "operating_points.csv")
    points[["speedup_cpu", "speedup_cpu_low", "speedup_cpu_high"]] *= 100
    points.to_csv(far / "operating_points.csv", index=False)
    found = load_matrix("two", [*sorted(folder.iterdir()), far])
    assert len(found.tasks) == len(matrix.tasks), "the same models on another machine are one task"
    clocks = found.clocks()
    assert clocks["machine"].nunique() == 2
    assert clocks["machine"].is_monotonic_increasing
    for name in matrix.targets:
        assert found.ranking(name).ranks == matrix.ranking(name).ranks
        assert found.duels(name)["wins"].sum() <= matrix.duels(name)["wins"].sum()
    assert "2 kinds of machine" in matrix_answer(found).trust


# --- the page --------------------------------------------------------------------------------------------------------


def test_the_page_is_whole_links_to_each_report_and_is_the_same_again(matrix, folder, tmp_path):
    for run in folder.iterdir():
        (tmp_path / run.name).mkdir()
        (tmp_path / run.name / "report.html").write_text("mine")
    written = render_matrix(matrix, tmp_path / "fruit", tmp_path)
    page, text = written["report.html"].read_text(), written["report.md"].read_text()
    for run in folder.iterdir():
        assert f"../{run.name}/report.html" in page
        assert f"(../{run.name}/report.html)" in text
    assert "default-src &#39;none&#39;" in page
    assert "Critical difference".lower() in page.lower()
    assert {"figures/ranks.svg", "figures/ranks-3.3in.pdf"} <= set(written)
    for name in ("standings", "ranks", "pairs", "clocks", "runs"):
        assert len(pd.read_csv(written[f"tables/{name}.csv"]))
    before = {name: path.read_bytes() for name, path in written.items()}
    again = render_matrix(matrix, tmp_path / "fruit", tmp_path)
    assert {name: path.read_bytes() for name, path in again.items()} == before
    ranks = pd.read_csv(written["tables/ranks.csv"])
    for name in matrix.targets:
        own = ranks[ranks["target"] == name]
        assert own["mean_rank"].tolist() == pytest.approx(matrix.ranking(name).ranks)


def test_a_folder_with_other_files_is_left_alone(matrix, tmp_path):
    (tmp_path / "fruit").mkdir()
    (tmp_path / "fruit" / "letter.txt").write_text("dear")
    with pytest.raises(UserError, match=r"letter.txt, which is no part of a report"):
        render_matrix(matrix, tmp_path / "fruit", tmp_path)


def test_under_smoke_nobody_is_ranked_apart(folder, tmp_path):
    runs = [copy(folder / name, tmp_path / name, spec={"budget": "smoke"}) for name in ("a-micro", "b-micro")]
    found = matrix_answer(load_matrix("smoke", runs))
    assert found.kind == "unknown"
    assert found.sentence.startswith("Cannot tell: the budget smoke")


def test_values_are_plain_json(matrix):
    values = json.loads(json.dumps(matrix_values(matrix), allow_nan=False))
    assert values["target"] == matrix.main
    assert {row["method"] for row in values["ranks"]} == {*matrix.ranking(matrix.main).methods}
    assert len(values["runs"]) == 4


def test_the_command(folder, tmp_path, typed):
    status, out, _ = typed(f"compare a-micro b-micro --results {folder} --json")
    assert status == 0
    assert json.loads(out)["name"] == "comparison"
    for line, words in {
        f"compare a-micro --results {folder}": "takes two finished runs or more",
        f"compare a-mikro b-micro --results {folder}": "no run or study at a-mikro; did you mean 'a-micro'?",
        f"compare a-micro a-micro --results {folder}": "named twice",
    }.items():
        status, out, err = typed(f"{line} --reports {tmp_path / 'reports'}")
        assert (status, out) == (2, "")
        assert words in err
        assert err.count("\n") == 1
    assert not (tmp_path / "reports").exists()
