"""The long half: killed at random moments, and every artefact of a finished run damaged in every way.

``pytest -m faults``; minutes. What was done and lost is printed at the end of each test (``-s``).
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest

from eebench.errors import UserError
from eebench.manifest import check_run
from eebench.runs.doctor import examine
from tests.faults.damage import again, cut, empty, flip, untimed

pytestmark = pytest.mark.faults

KILLS = 20
BESIDE = ("threads.json", "progress.json")  # no number comes from them; what they say is said anew
LINE = (
    "run -m pabee[blocks=3+6+9],jei_dnn[blocks=4+8] -d digits --budget smoke --static 0.25,1 --device cpu --threads 1"
)


def start(folder):
    code = "from eebench.cli import main; main()"
    words = [*LINE.split(), "--threads", "1", "--latency-samples", "8"]
    out, err = subprocess.DEVNULL, subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", code, *words], cwd=folder, stdout=out, stderr=err, text=True)


def same(before, after):
    assert before.keys() == after.keys()
    for name, frame in before.items():
        pd.testing.assert_frame_equal(frame, after[name], obj=name)


def test_killed_at_random_moments_the_same_command_comes_to_the_same_tables(tmp_path):
    (tmp_path / "whole").mkdir()
    began = time.monotonic()
    whole = start(tmp_path / "whole")
    assert whole.wait(timeout=900) == 0, whole.stderr.read()
    took = time.monotonic() - began
    (run,) = (tmp_path / "whole" / "results").iterdir()
    before = untimed(run)
    rng = random.Random(15)
    (tmp_path / "killed").mkdir()
    killed = ended = 0
    while killed < KILLS:
        process = start(tmp_path / "killed")
        try:
            process.wait(timeout=rng.uniform(0.1, 1.0) * took)
            ended += 1  # it was done before it was to be killed: begin anew, so that all stages see kills
            here = tmp_path / "killed" / "results" / run.name
            same(before, untimed(here))
            assert examine(here).well
            shutil.rmtree(tmp_path / "killed")
            (tmp_path / "killed").mkdir()
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            killed += 1
            here = tmp_path / "killed" / "results" / run.name
            if (here / "run.json").exists():
                check_run(here)  # a record that is there is whole, whatever happened to the run after it
    process = start(tmp_path / "killed")
    said = process.stderr.read()
    assert process.wait(timeout=900) == 0, said
    here = tmp_path / "killed" / "results" / run.name
    same(before, untimed(here))
    assert examine(here).well
    assert not list((here / "cells").glob(".*"))
    print(f"\n{killed} kills, {ended} undisturbed ends between them, {took:.0f} s a run: tables identical")  # noqa: T201


def test_every_artefact_of_a_finished_run_cut_flipped_and_emptied(smoke, plugin, tmp_path):
    """Found every time before anything is made of it; made again in rounds that damage a file of every cell."""
    run = shutil.copytree(smoke.results, tmp_path / "results") / smoke.path.name
    before = untimed(run)
    found = 0
    for path in sorted(p for p in run.rglob("*") if p.is_file()):
        if path.suffix not in (".csv", ".json", ".npz", ".npy", ".safetensors") or path.name in BESIDE:
            continue
        whole = path.read_bytes()
        for spoil in (flip, cut, empty, os.unlink):
            spoil(path)
            assert not examine(run).well, f"{spoil.__name__} {path}"
            found += 1
            path.write_bytes(whole)
        path.write_bytes(bytes(len(whole)))
        assert not examine(run).well, f"zeros in {path}"
        found += 1
        path.write_bytes(whole)
    assert examine(run).well
    for name in BESIDE:
        for spoil in (flip, cut, empty):
            if (run / name).exists():
                spoil(run / name)
    again(smoke.spec, plugin, run.parent)
    same(before, untimed(run))
    mended = 0
    for kind in (
        "cell.json",
        "weights.safetensors",
        "trace-val.npz",
        "costs-test.npz",
        "logits-val.npy",
        "manifest.json",
    ):
        for number, cell in enumerate(sorted((run / "cells").glob("[!.]*"))):
            (flip, cut, empty, os.unlink)[number % 4](cell / kind)
            mended += 1
        outcome, lines = again(smoke.spec, plugin, run.parent)
        assert sum("set aside, to be made again" in line for line in lines) == 5, kind
        assert [c["label"] for c in outcome.failed] == ["failing"]
        same(before, untimed(run))
        assert examine(run).well
    print(f"\n{found} damages found by the doctor, {mended} damaged cells made again: tables identical")  # noqa: T201


def test_every_table_and_fact_edited_is_refused_by_every_reader(smoke, tmp_path):
    import eebench
    from eebench.report import read_answer

    run = shutil.copytree(smoke.path, tmp_path / "run")
    values = json.loads((run / "run.json").read_text())
    edits = 0
    for key in values:
        (run / "run.json").write_text(json.dumps(values | {key: values[key] if key == "checksums" else "edited"}))
        for read in (eebench.read, read_answer):
            with pytest.raises(UserError):
                read(run)
        edits += 1
    print(f"\n{edits} fields of run.json edited: refused by both readers")  # noqa: T201
