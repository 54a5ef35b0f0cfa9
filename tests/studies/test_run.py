"""A study is run by the machinery of a single run: what is finished is left, what fails keeps nobody from running."""

import io
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from eebench.errors import UserError
from eebench.progress import Reporter
from eebench.record import read_record
from eebench.runs.prepare import prepare
from eebench.runs.spec import make_spec
from eebench.runs.store import Store
from eebench.studies.plan import plan_study
from eebench.studies.record import read_study_record, runs_of
from eebench.studies.run import open_study, print_study, run_study

TEXT = """study = 1
name = "tiny"
[defaults]
methods = ["pabee[blocks=3+6+9]", "jei_dnn[blocks=4+8]"]
budget = "smoke"
device = "cpu"
latency_samples = 8
static = [0.25, 1.0]
[matrix]
dataset = ["digits", "mnist5k"]
"""


@pytest.fixture
def study(tmp_path):
    path = tmp_path / "tiny.toml"
    path.write_text(TEXT)

    def of(*only, text=TEXT):
        path.write_text(text)
        return open_study(path, only=only)

    return of


class Runner:
    """Runs nothing: writes what a finished run leaves, and remembers what it was asked for."""

    def __init__(self, smoke, breaks=()):
        self.smoke, self.breaks, self.asked = smoke, breaks, []

    def __call__(self, spec, registry, results, *, reporter, force):
        self.asked.append(spec)
        if spec.dataset in self.breaks:
            raise self.breaks[spec.dataset]
        spec = prepare(spec, registry).spec  # whose targets the data settle, and with them the run's name
        store = Store(results, spec.run_name)
        record = read_record(self.smoke.path)
        store.publish({}, {}, record.model_copy(update={"spec_sha256": spec.sha256, "run": spec.run_name, "cells": []}))
        return SimpleNamespace(path=store.path, failed=[], shard=None)


def reporter():
    return Reporter(quiet=True)


def test_every_run_gets_its_folder_and_the_study_a_record(study, smoke, tmp_path):
    runner, seen = Runner(smoke), []
    outcome = run_study(study(), tmp_path / "r", reporter=reporter(), execute=runner, finished=seen.append)
    digits, mnist = (entry.spec for entry in study().entries)
    assert runner.asked == [digits, mnist]
    assert outcome.runs == seen
    assert all((run / "run.json").exists() for run in seen)
    record = read_study_record(tmp_path / "r" / "tiny")
    assert [(one.run, one.apart) for one in record.runs] == [
        (seen[0].name, {"dataset": "digits"}),
        (seen[1].name, {"dataset": "mnist5k"}),
    ]
    assert runs_of(tmp_path / "r" / "tiny").runs == seen
    assert [make_spec(**one.spec) for one in record.runs] == [digits, mnist]


def test_a_run_that_fails_keeps_nobody_from_running(study, smoke, tmp_path):
    runner = Runner(smoke, {"digits": UserError("training the backbone diverged")})
    outcome = run_study(study(), tmp_path / "r", reporter=reporter(), execute=runner)
    assert [spec.dataset for spec in runner.asked] == ["digits", "mnist5k"]
    assert outcome.failed == {"dataset=digits": "training the backbone diverged"}
    found = runs_of(tmp_path / "r" / "tiny")
    assert [path.name.split("-")[0] for path in found.runs] == ["mnist5k"]
    assert [name.split("-")[0] for name in found.unfinished] == ["digits"]


def test_an_interrupted_study_stops_and_has_its_record(study, smoke, tmp_path):
    runner = Runner(smoke, {"mnist5k": KeyboardInterrupt()})
    with pytest.raises(KeyboardInterrupt):
        run_study(study(), tmp_path / "r", reporter=reporter(), execute=runner)
    assert len(runs_of(tmp_path / "r" / "tiny").runs) == 1


def test_a_part_of_a_study_keeps_the_record_of_the_whole(study, smoke, tmp_path):
    runner = Runner(smoke)
    run_study(study("dataset=digits,method=pabee"), tmp_path / "r", reporter=reporter(), execute=runner)
    (spec,) = runner.asked
    assert (spec.dataset, spec.methods) == ("digits", ("pabee[blocks=3+6+9]",))
    record = read_study_record(tmp_path / "r" / "tiny")
    assert [one.run for one in record.runs] == [None, None], "neither whole run was planned here"
    found = runs_of(tmp_path / "r" / "tiny")
    assert (found.runs, found.unfinished) == ([], ["dataset=digits", "dataset=mnist5k"])
    whole = run_study(study(), tmp_path / "r", reporter=reporter(), execute=runner).runs
    run_study(study("dataset=mnist5k,method=pabee"), tmp_path / "r", reporter=reporter(), execute=runner)
    assert runs_of(tmp_path / "r" / "tiny").runs == whole, "a part of it leaves the names of whole runs as they are"


def test_what_is_finished_is_told_by_spec_cells_and_failures(smoke, copied, plugin):
    """The finished smoke run has a failed method; without that it is what a study asks for, and is left alone."""
    from eebench.plugins.registry import Registry
    from eebench.studies.expand import Entry

    def finished(spec):
        (planned,) = plan_study([Entry(spec, {})], Registry.installed([plugin]), copied)
        assert planned.run == spec.run_name
        return planned.finished

    def publish(spec, record):
        """The smoke run's record as that of another spec, with the same cells."""
        store = Store(copied, spec.run_name)
        for cell in record.cells:
            assert cell.id is None or store.cell(cell.id) is not None
        store.publish({}, {}, record.model_copy(update={"run": spec.run_name, "spec_sha256": spec.sha256}))
        return store.path

    assert not finished(smoke.spec)  # 'failing' failed
    record = read_record(smoke.path)
    good = record.model_copy(update={"cells": [cell for cell in record.cells if cell.status == "done"]})
    more = smoke.spec.model_copy(update={"methods": (*smoke.spec.methods[:2], "pabee[blocks=2]")})
    publish(more, good)
    assert not finished(more)  # what would be made now has a cell more
    spec = smoke.spec.model_copy(update={"methods": smoke.spec.methods[:2]})
    assert not finished(spec)
    path = publish(spec, good)
    assert finished(spec)
    assert not finished(spec.model_copy(update={"level": 0.8}))
    weights = next(path.glob("cells/pabee*/weights.safetensors"))
    whole = weights.read_bytes()
    weights.unlink()  # a link of the other run's
    weights.write_bytes(whole[:-1] + b"!")
    assert not finished(spec)
    weights.write_bytes(whole)
    assert finished(spec)
    run = path / "run.json"
    run.write_text(run.read_text().replace("smoke", "smokey", 1))
    assert not finished(spec)


def test_a_mistake_in_any_run_is_found_before_one_starts(study, smoke, tmp_path):
    text = TEXT.replace('dataset = ["digits", "mnist5k"]', 'dataset = ["digits"]\nthreads = [1, 2]')
    assert len(study(text=text).entries) == 2
    runner = Runner(smoke)
    bad = TEXT.replace('"mnist5k"]', '"mnist5k"]\nbackbone = ["vit_micro", "vit_nano"]')
    with pytest.raises(UserError, match="backbone=vit_nano, dataset=digits: unknown backbone 'vit_nano'"):
        run_study(study(text=bad), tmp_path / "r", reporter=reporter(), execute=runner)
    assert runner.asked == []
    assert not (tmp_path / "r").exists()


def test_a_dry_run_says_what_is_left_and_writes_nothing(study, tmp_path, monkeypatch):
    from eebench.studies import run as module

    out = io.StringIO()
    monkeypatch.setattr(module, "Console", lambda **more: Console(file=out, width=200, **more))
    print_study(study(), tmp_path / "r")
    said = out.getvalue()
    assert "1 of 2, dataset=digits" in said
    assert "study tiny: 2 runs, 0 finished; 10 cells, 0 of them finished; about" in said
    assert "MiB on disk" in said
    assert not (tmp_path / "r").exists()


def test_a_study_of_one_run_calls_it_by_its_folders_name(study, tmp_path, monkeypatch):
    """Not by that of the spec as it was typed: what is filled in later is in the folder's name."""
    from eebench.studies import run as module

    out = io.StringIO()
    monkeypatch.setattr(module, "Console", lambda **more: Console(file=out, width=200, **more))
    print_study(study(text=TEXT.replace('["digits", "mnist5k"]', '["digits"]')), tmp_path / "r")
    (title,) = re.findall(r"^1 of 1, (\S+)$", out.getvalue(), re.M)
    (run,) = re.findall(r"^run (\S+)$", out.getvalue(), re.M)
    assert title == run


@pytest.mark.slow
def test_a_study_interrupted_goes_on(study, tmp_path):
    """For real: the first run whole, the second stopped after its backbone; then the same command again."""
    from eebench.runs import runner

    calls = []

    def stop_at_second(spec, *rest, **more):
        calls.append(spec.dataset)
        if spec.dataset == "mnist5k":
            raise KeyboardInterrupt
        return runner.execute(spec, *rest, **more)

    with pytest.raises(KeyboardInterrupt):
        run_study(study(), tmp_path / "r", reporter=reporter(), execute=stop_at_second)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "r").rglob("*") if path.name == "run.json"}
    assert len(before) == 1
    outcome = run_study(study(), tmp_path / "r", reporter=reporter())
    assert len(outcome.runs) == 2
    assert not outcome.failed
    assert {path: path.stat().st_mtime_ns for path in before} == before, "the finished run was left alone"
    assert all(Path(run / "operating_points.csv").exists() for run in outcome.runs)
