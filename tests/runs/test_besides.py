"""What is left when a model does not answer: the others' numbers, and a line that says so."""

from types import SimpleNamespace

import pytest

from eebench.errors import StorageError, TerminatedError, UserError
from eebench.progress import Reporter
from eebench.runs.besides import Besides
from eebench.runs.models import Model
from eebench.runs.plan import Job, Undone
from eebench.runs.questions import Beyond, Clock, Clocked
from eebench.timing.blame import ContenderError, blamed, pointed_at, pointing
from eebench.timing.times import Times

KEY = ("pabee", "cpu", "single", 1, "drop_1")


def model(label):
    return Model(SimpleNamespace(label=label), None, chosen="its method, which need not travel")


@pytest.fixture
def asked():
    """Besides with answers to come: what it was asked, what it kept and noted."""
    here = SimpleNamespace(questions=[], answers=[], kept=[], notes=[], reporter=Reporter(quiet=True))

    def ask(question):
        here.questions.append(question)
        answer = here.answers.pop(0)
        return answer(question) if callable(answer) else answer

    here.besides = Besides(ask, lambda *facts: here.kept.append(facts), here.notes, here.reporter)
    return here


def dies(label, reason):
    def answer(question):
        question.pointer.write_bytes(label.encode().ljust(64, b"\0"))
        return Undone(reason, "its log")

    return answer


def test_whoever_ends_the_process_that_times_is_left_out_and_the_others_start_again(asked, tmp_path):
    times = Times(1)
    asked.answers = [dies("lgvit", "its process ended: exit status 3"), Clocked(times, [{"joules": 1.0}], ("a note",))]
    found = asked.besides.clocked([model("backbone"), model("lgvit"), model("pabee")], 7, tmp_path / "pointer")
    assert [[m.scored.label for m in q.models] for q in asked.questions] == [
        ["backbone", "lgvit", "pabee"], ["backbone", "pabee"]
    ]  # fmt: skip
    assert all(isinstance(q, Clock) and q.job.title == "timing seed 7" for q in asked.questions)
    assert all(m.chosen is None for q in asked.questions for m in q.models), "a stranger's object need not be sent"
    assert found.energy == [{"joules": 1.0}]
    assert {label: (r.reason, r.log) for label, r in found.times.failed.items()} == {
        "lgvit": ("its process ended: exit status 3", "its log")
    }
    assert asked.notes == ["a note"]
    assert "lgvit seed 7: while it was timed, its process ended: exit status 3; the others start again" in (
        asked.reporter.lines
    )
    assert not (tmp_path / "pointer").exists()


@pytest.mark.parametrize("who", ["backbone", "", "somebody else"])
def test_where_nobody_can_be_left_out_nothing_is_timed_and_it_is_said(asked, tmp_path, who):
    asked.answers = [dies(who, "its process ended: SIGKILL")]
    found = asked.besides.clocked([model("backbone"), model("pabee")], 0, tmp_path / "pointer")
    assert (found.times.timings, found.times.failed) == ({}, {})
    assert asked.notes == ["no timings of seed 0: its process ended: SIGKILL"]
    assert asked.kept == [("timing", 0, "its log")]


def test_a_model_that_does_not_answer_costs_its_own_rows(asked):
    asked.answers = [Undone("ValueError: no", "its log"), [{"score": 1.0}]]
    job = Job("method", "pabee", 2)
    assert asked.besides.beyond("shift", job, model("pabee"), model("backbone")) == []
    assert asked.notes == ["no shift of pabee seed 2: measuring it, ValueError: no"]
    assert asked.kept == [("shift-pabee", 2, "its log")]
    assert asked.besides.beyond("slowdown", job, model("pabee"), model("backbone")) == [{"score": 1.0}]
    assert [(type(q), q.what) for q in asked.questions] == [(Beyond, "shift"), (Beyond, "slowdown")]


@pytest.mark.parametrize(
    ("failure", "error"),
    [(Undone("no space left", storage=True), StorageError), (Undone("x", error=UserError("no counter")), UserError)],
)
def test_what_is_no_models_fault_ends_the_run(asked, tmp_path, failure, error):
    asked.answers = [failure, failure]
    with pytest.raises(error):
        asked.besides.beyond("shift", Job("method", "pabee", 0), model("pabee"), model("backbone"))
    with pytest.raises(error):
        asked.besides.clocked([model("backbone")], 0, tmp_path / "pointer")


def test_a_file_names_whose_inference_runs(tmp_path):
    path = tmp_path / "pointer"
    assert pointed_at(path) == ""
    with pointing(path):
        with blamed(KEY):
            assert pointed_at(path) == "pabee"
        assert pointed_at(path) == ""
        with pytest.raises(ContenderError) as raised, blamed(("a longer name", *KEY[1:])):
            raise ValueError(pointed_at(path))
        assert str(raised.value.__cause__) == "a longer name"
        assert pointed_at(path) == ""
        with pytest.raises(TerminatedError), blamed(KEY):
            raise TerminatedError
        assert pointed_at(path) == "pabee", "it took too long and was stopped: who?"
    with blamed(("lgvit", *KEY[1:])):
        assert pointed_at(path) == "pabee", "nobody points any more"
