"""A run's recorded times under load: what is simulated is what was read, and every bad input is one line."""

import csv
import json

import numpy as np
import pytest

from eebench.errors import UserError
from eebench.measure.queueing import poisson, serve
from eebench.serving import COLUMNS, Arrivals, load_table, read_trace

PATHS = {"backbone": {"plain": 4.0}, "fast": {"drop_1": 1.0, "macs_50": 2.0}, "static": {"blocks_3": 2.0}}


@pytest.fixture
def run(tmp_path, monkeypatch):
    """The timings of a run: every path takes one time, but for the last reading, which is twice that."""
    rows, readings = [], {}
    for method, paths in PATHS.items():
        for path, time in [*paths.items(), ("exit_3", 9.0)]:
            row = {"method": method, "seed": 0, "device": "cpu", "scenario": "single", "batch_size": 1, "path": path}
            rows.append(row | {"basis": "cpu" if method == "fast" else "wall"})
            name = "|".join(map(str, (method, "cpu", "single", 1, path)))
            readings[name] = np.array([[time] * 10, [time] * 9 + [2 * time]])
            readings[f"{name}|cpu"] = readings[name] / 2
    with (tmp_path / "latency.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0]])
        writer.writeheader()
        writer.writerows(rows)
    np.savez(tmp_path / "latency-s0.npz", **readings)
    monkeypatch.setattr("eebench.serving.read_record", lambda path: type("Record", (), {"run": "made"}))
    return tmp_path


def test_every_path_is_served_at_every_load(run):
    table = load_table(run, loads=(0.2, 0.5), requests=5000)
    assert [*table.columns] == [*COLUMNS]
    assert table.groupby(["method", "path"]).size().to_dict() == dict.fromkeys(
        [("backbone", "plain"), ("fast", "drop_1"), ("fast", "macs_50"), ("static", "blocks_3")], 2
    )
    by = table.set_index(["path", "load"])
    assert by.loc[("plain", 0.5), "rate"] == pytest.approx(500 / 4.2)
    assert by.loc[("plain", 0.5), "busy"] == pytest.approx(0.5, rel=0.02)
    assert by.loc[("drop_1", 0.5), "busy"] == pytest.approx(0.5 / 8, rel=0.02)  # half of the time by the CPU's clock
    assert (table["limit_ms"] == 42).all()
    assert by.loc[("drop_1", 0.2), "highest_load"] > by.loc[("macs_50", 0.2), "highest_load"] > 1
    assert by.loc[("plain", 0.2), "highest_load"] < 1


def test_the_plain_backbone_is_the_queue_of_its_own_readings(run):
    table = load_table(run, methods=["fast"], targets=["drop_1"], loads=(0.5,), requests=5000)
    assert [*table["path"]] == ["plain", "drop_1"]
    rng = np.random.default_rng(1)
    sample, turn = rng.random(5000), rng.random(5000)
    service = np.where((turn >= 0.5) & (sample >= 0.9), 8.0, 4.0)
    expected = serve(poisson(0.5 / 4.2, 5000), service, settled=500)
    assert table["p99_ms"].iloc[0] == pytest.approx(expected.quantile(0.99))
    assert table["p50_ms"].iloc[0] == pytest.approx(expected.quantile(0.5))


def test_bursts_and_more_servers(run):
    alone = load_table(run, methods=["fast"], loads=(0.5,), requests=5000)
    burst = load_table(run, methods=["fast"], loads=(0.5,), requests=5000, arrivals=Arrivals(8.0))
    two = load_table(run, methods=["fast"], loads=(0.5,), requests=5000, servers=2)
    assert (burst["p99_ms"] > alone["p99_ms"]).all()
    assert two["p99_ms"].iloc[0] < alone["p99_ms"].iloc[0]
    assert two["rate"].iloc[0] == pytest.approx(2 * alone["rate"].iloc[0])


def test_a_trace_keeps_its_rhythm(tmp_path):
    (tmp_path / "trace.txt").write_text("10\n11\n13\n")
    gaps = read_trace(tmp_path / "trace.txt")
    assert gaps.tolist() == [1.0, 2.0]
    at = Arrivals(gaps=gaps).at(0.5, 6)
    np.testing.assert_allclose(np.diff(at), [8 / 3, 4 / 3, 8 / 3, 4 / 3, 8 / 3])
    assert 6 / at[-1] == pytest.approx(0.5)


@pytest.mark.parametrize("content", ["1\n2\n", "1\nx\n3\n", "3\n2\n1\n", "1\n1\n1\n", "1\nnan\n2\n", ""])
def test_what_is_no_trace_is_one_line(tmp_path, content):
    (tmp_path / "trace.txt").write_text(content)
    with pytest.raises(UserError, match="--arrivals"):
        read_trace(tmp_path / "trace.txt")


def test_what_was_not_timed_is_one_line(run):
    with pytest.raises(UserError, match="no method 'slow' was timed in this run; there are backbone, fast"):
        load_table(run, methods=["slow"])
    with pytest.raises(UserError, match="no operating point 'drop_2'"):
        load_table(run, targets=["drop_2"])
    with pytest.raises(UserError, match="no timings on cuda"):
        load_table(run, device="cuda")
    with pytest.raises(UserError, match="cannot be read"):
        read_trace(run / "nothing.txt")


def test_the_command_says_it(smoke, capsys, monkeypatch, tmp_path):
    import sys

    from eebench.cli import main

    def typed(*words):
        monkeypatch.setattr(sys, "argv", ["eebench", "queue", str(smoke.path), *words])
        with pytest.raises(SystemExit) as caught:
            main()
        return caught.value.code or 0, capsys.readouterr()

    status, said = typed("--loads", "0.5", "--csv", str(tmp_path / "load.csv"))
    assert status == 0
    assert "backbone plain seed 0: load" in said.out
    assert (tmp_path / "load.csv").read_text().startswith(",".join(COLUMNS))
    status, said = typed("--target", "macs_50", "--json")
    assert {row["path"] for row in json.loads(said.out)} >= {"plain", "macs_50"}
    for words, expected in {
        ("--loads", "0"): "--loads",
        ("--burst", "0.5"): "--burst must be at least 1",
        ("--limit", "-1"): "--limit must be above 0",
        ("--burst", "2", "--arrivals", "x"): "leave --burst out",
        ("--method", "nobody"): "no method 'nobody'",
    }.items():
        status, said = typed(*words)
        assert status == 2
        assert expected in said.err
        assert said.err.startswith("error: ")
        assert len(said.err.splitlines()) == 1
