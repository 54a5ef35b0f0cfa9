"""Submissions are worked out again from their arrays; one that was edited in one digit is refused."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from eebench.errors import UserError
from eebench.exchange.importing import import_predictions
from eebench.exchange.leaderboard import leaderboard, standings
from eebench.exchange.recompute import recompute
from eebench.exchange.submission import read_submission, submit
from eebench.exchange.verify import verify, verify_all
from eebench.files import read_json, write_json, write_table
from eebench.manifest import MANIFEST, seal
from eebench.plugins.registry import Registry
from eebench.record import read_record
from eebench.schema import TABLES
from tests.exchange.made import card_of, split_of, write

PABEE = "pabee[blocks=3+6+9]"


@pytest.fixture(scope="module")
def trained(smoke, plugin, tmp_path_factory) -> Path:
    """One method of a run that eebench trained."""
    out = tmp_path_factory.mktemp("trained")
    (place,) = submit(smoke.path, out, by="me", methods=[PABEE], registry=Registry.installed([plugin]))
    return place


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A repository with one submission of an imported model, quickly worked out."""
    place = tmp_path_factory.mktemp("made")
    run = import_predictions(write(place / "in"), results=place / "results")
    submit(run, place / "repository", by="me")
    return place / "repository"


def copy(source: Path, tmp_path: Path) -> Path:
    """A copy of a submission in a repository of its own."""
    target = tmp_path / "repository" / Path(*source.parts[-5:])
    shutil.copytree(source, target)
    return target


def only(repository: Path) -> Path:
    (found,) = (path.parent for path in repository.rglob("submission.json"))
    return found


def reseal(folder: Path) -> None:
    (folder / MANIFEST).unlink()
    seal(folder, submission="x", by="me")


def one_digit(path: Path, column: str) -> str:
    """Change one digit of a number in the first row that has one; what it was."""
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    row = next(i for i, text in enumerate(frame[column]) if re.search(r"\.\d{3}", text))
    old = frame.loc[row, column]
    at = old.index(".") + 3
    frame.loc[row, column] = old[:at] + str((int(old[at]) + 1) % 10) + old[at + 1 :]
    frame.to_csv(path, index=False, lineterminator="\n")
    return old


# --- what holds -------------------------------------------------------------------------------------------------------


def test_tables_split_and_macs_come_out_again_without_weights(trained):
    assert not list(trained.rglob("*.safetensors"))
    verdict = verify(trained)
    status = {check.name: check.status for check in verdict.checks}
    assert status.pop("clock") in ("passed", "not here")
    assert status == dict.fromkeys(("files", "schema", "protocol", "identity", "tables", "split", "MACs"), "passed")
    assert verdict.status == "recomputed"


def test_a_submission_has_the_runs_own_numbers_and_nothing_of_the_machines_paths(trained, smoke):
    own, mine = (pd.read_csv(path / "curves.csv").query("method == @PABEE") for path in (smoke.path, trained))
    pd.testing.assert_frame_equal(own.reset_index(drop=True), mine.reset_index(drop=True), check_dtype=False)
    text = (trained / "run.json").read_text() + (trained / "predictions" / "card.json").read_text()
    assert str(smoke.path.parent) not in text
    record = read_record(trained)
    assert {cell.label for cell in record.cells} == {"backbone", "static[blocks=3]", "static[blocks=12]", PABEE}
    assert read_submission(trained).spec_sha256 == record.spec_sha256


def test_costs_that_are_only_declared_stay_claimed(made):
    (verdict,) = verify_all(made)
    assert verdict.status == "claimed"
    assert {check.name: check.words for check in verdict.checks}["MACs"] == "imported, cost as declared"


# --- what was edited --------------------------------------------------------------------------------------------------

EDITED = [
    ("curves", "score"), ("operating_points", "speedup_macs"), ("operating_points", "drop_high"), ("exits", "ece"),
    ("headlines", "value"), ("summary", "value"), ("reliability", "confidence"), ("shares", "accuracy"),
]  # fmt: skip


@pytest.mark.parametrize(("table", "column"), EDITED)
def test_one_digit_edited_by_hand_is_refused_sealed_again_or_not(table, column, made, tmp_path):
    place = copy(only(made), tmp_path)
    old = one_digit(place / f"{table}.csv", column)
    verdict = verify(place)
    assert verdict.status == "refused"
    assert verdict.failed.name == "files"
    reseal(place)
    verdict = verify(place)
    assert (verdict.status, verdict.failed.name) == ("refused", "tables")
    assert f"{table}.csv line" in verdict.failed.words
    assert old in verdict.failed.words


def rewrite(place: Path) -> None:
    """What a forger does who has eebench: tables made anew from the forged arrays, and everything sealed again."""
    again = recompute(place / "predictions", read_record(place), None)
    for name, rows in again.tables.items():
        write_table(place / f"{name}.csv", list(TABLES[name]), rows)
    reseal(place)


def test_cheaper_macs_are_found_out_although_every_table_says_the_same(trained, tmp_path):
    place = copy(trained, tmp_path)
    card = read_json(place / "predictions" / "card.json")
    forged = next(model for model in card["models"] if model["method"] == PABEE)
    for name in ("macs", "macs_backbone"):
        forged[name][0] -= 1000
    write_json(place / "predictions" / "card.json", card)
    rewrite(place)
    verdict = verify(place)
    assert (verdict.status, verdict.failed.name) == ("refused", "MACs")
    assert f"{PABEE} seed 0, val: backbone at exit 1" in verdict.failed.words


def test_easier_labels_are_found_out(trained, tmp_path):
    place = copy(trained, tmp_path)
    for path in (place / "predictions").rglob("test.npz"):
        with np.load(path) as file:
            arrays = {name: file[name] for name in file.files}
        arrays["targets"] = np.roll(arrays["targets"], 1)
        np.savez(path, **arrays)
    rewrite(place)
    verdict = verify(place)
    assert (verdict.failed.name, verdict.failed.words) == ("split", "its test targets are not those of digits")


FORGED = {  # what is changed in run.json or submission.json → which check says what
    "another protocol": ("submission.json", {"protocol_version": 1}, "protocol", "this eebench compares version"),
    "another spec": ("run.json", {"spec_sha256": "0" * 64}, "identity", "have the hash"),
    "another method": ("submission.json", {"method": "other"}, "identity", "have the hash"),
    "another submitter": ("submission.json", {"by": "you"}, "identity", "belongs into submissions/"),
    "another schema": ("run.json", {"schema_version": 1}, "schema", "has schema version 1"),
    "another form": ("submission.json", {"version": 9}, "schema", "is no submission of version 1"),
    "a key too many": ("submission.json", {"prize": 1}, "schema", "Extra inputs"),
}


@pytest.mark.parametrize("case", FORGED)
def test_a_submission_says_what_it_is_and_lies_where_it_belongs(case, made, tmp_path):
    name, changes, check, words = FORGED[case]
    place = copy(only(made), tmp_path)
    write_json(place / name, read_json(place / name) | changes)
    reseal(place)
    failed = verify(place).failed
    assert failed.name == check
    assert words in failed.words
    assert "\n" not in failed.words


def test_files_beside_the_listed_ones_are_refused(made, tmp_path):
    place = copy(only(made), tmp_path)
    (place / "notes.txt").write_text("trust me")
    assert "notes.txt is not the folder's own" in verify(place).failed.words


def test_a_speedup_without_its_latencies_is_refused(trained, tmp_path):
    place = copy(trained, tmp_path)
    points = pd.read_csv(place / "operating_points.csv")
    points.loc[points["kind"] == "dynamic", "speedup_cpu"] = 9.5
    points.to_csv(place / "operating_points.csv", index=False)
    reseal(place)
    failed = verify(place).failed
    assert failed.name == "clock"
    assert "is 9.5, its latencies say" in failed.words


# --- several ----------------------------------------------------------------------------------------------------------


def another(made_seed: int, by: str, place: Path, repository: Path) -> None:
    """A submission of the same experiment by somebody else, with other samples of the same skill."""
    splits = {name: split_of(seed) for name, seed in (("val", 1), ("test", 2))}
    rng = np.random.default_rng(made_seed)
    for split in splits.values():
        split["logits"] = split["logits"] + rng.normal(scale=1e-3, size=split["logits"].shape).astype(np.float32)
    run = import_predictions(write(place / by, card_of(), **splits), results=place / f"results-{by}")
    submit(run, repository, by=by)


@pytest.fixture
def several(made, tmp_path, monkeypatch) -> Path:
    """One experiment by three people, one of whom copied; costs counted, so that they are recomputed."""
    monkeypatch.setattr("eebench.exchange.verify._Checking.macs", lambda self: "counted elsewhere")
    repository = tmp_path / "repository"
    shutil.copytree(made, repository)
    another(5, "her", tmp_path, repository)
    run = import_predictions(write(tmp_path / "again"), results=tmp_path / "results-copycat")
    submit(run, repository, by="copycat")
    return repository


def test_agreeing_arrays_of_two_people_reproduce_and_a_copy_does_not(several):
    found = {verdict.submission.by: verdict for verdict in verify_all(several)}
    assert found["her"].status == "reproduced"
    assert found["me"].status == "reproduced"
    assert found["me"].words == "agrees with her's"
    shutil.rmtree(next(several.rglob("mine__her")))
    found = {verdict.submission.by: verdict for verdict in verify_all(several)}
    assert {verdict.status for verdict in found.values()} == {"recomputed"}
    assert "same arrays" in found["copycat"].words


def test_the_leaderboard_ranks_what_holds_and_lists_what_does_not(several, tmp_path):
    broken = next(several.rglob("mine__copycat")) / only(several / "submissions" / "v2" / "mine__me").relative_to(
        several / "submissions" / "v2" / "mine__me"
    )
    one_digit(broken / "curves.csv", "score")
    verdicts = verify_all(several)
    rows = standings(verdicts)
    assert {row["by"] for row in rows} == {"me", "her"}
    drops = [row for row in rows if row["target"].startswith("drop")]
    assert [row["speedup_macs"][0] for row in drops] == sorted((r["speedup_macs"][0] for r in drops), reverse=True)
    written = leaderboard(verdicts, tmp_path / "board")
    page, text = (written[f"leaderboard.{kind}"].read_text() for kind in ("html", "md"))
    assert "2 reproduced, 1 refused" in text
    assert "curves.csv is not as it was written" in text.replace("\\", "")
    assert "Wall-clock, machine by machine" in page
    assert "reproduced" in page
    headline = read_csv_headline(only(several / "submissions" / "v2" / "mine__me"))
    assert f"{headline:.2f}" in text


def read_csv_headline(place: Path) -> float:
    rows = pd.read_csv(place / "headlines.csv").query("method == 'mine' and measure == 'speedup_macs'")
    return float(rows["value"].iloc[0])


# --- bad input --------------------------------------------------------------------------------------------------------


def test_what_cannot_be_submitted_is_said_in_one_line_and_nothing_is_written(made, smoke, plugin, tmp_path):
    registry = Registry.installed([plugin])
    with pytest.raises(UserError, match="is no name for a folder"):
        submit(smoke.path, tmp_path / "out", by="a/b", registry=registry)
    with pytest.raises(UserError, match="no finished method 'failing'"):
        submit(smoke.path, tmp_path / "out", by="me", methods=["failing"], registry=registry)
    with pytest.raises(UserError, match=r"run\.json does not exist"):
        submit(tmp_path, tmp_path / "out", by="me", registry=registry)
    assert not (tmp_path / "out").exists()
    place = tmp_path / "made"
    run = import_predictions(write(place / "in"), results=place / "results")
    submit(run, place / "repository", by="me")
    with pytest.raises(UserError, match="is there already"):
        submit(run, place / "repository", by="me")
    assert len(list((place / "repository").rglob("submission.json"))) == 1
    assert [path.name for path in (place / "repository").iterdir()] == ["submissions"]


def test_a_folder_without_submissions_is_one_line(tmp_path):
    with pytest.raises(UserError, match="holds no submission"):
        verify_all(tmp_path)
    with pytest.raises(UserError, match="there is no folder"):
        verify_all(tmp_path / "nowhere")
    with pytest.raises(UserError, match="is no submission"):
        verify(tmp_path)


def test_verify_says_it_as_json_and_ends_with_status_2(made, tmp_path, monkeypatch, capsys):
    import sys

    from eebench.cli import main

    place = copy(only(made), tmp_path)
    one_digit(place / "curves.csv", "score")
    monkeypatch.setattr(sys, "argv", ["eebench", "verify", str(tmp_path / "repository"), "--json"])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr()
    assert ended.value.code == 2
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1
    assert json.loads(said.out)[0]["status"] == "refused"
