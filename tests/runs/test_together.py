"""Several processes at one run: the work is shared, each cell is made once, the dead are succeeded."""

import multiprocessing
import time
from types import SimpleNamespace

import pytest

from eebench.errors import UserError
from eebench.leases import Leases
from eebench.record import read_record
from eebench.runs.cell import Cell
from eebench.runs.executors import InProcess
from eebench.runs.maker import Maker
from eebench.runs.plan import Busy, Job, Made, Undone
from eebench.runs.schedule import Schedule
from eebench.runs.store import Store
from eebench.runs.together import Free, Published, alone, present
from eebench.schema import TABLES
from tests.runs.test_schedule import BASE, PABEE, PLAN, SEARCH, SMALL

# --- one process's view ----------------------------------------------------------------------------------------------


def test_what_another_process_is_at_is_ready_again_when_that_is_over():
    told, live = [], {"backbone"}
    schedule = Schedule(PLAN, lambda job, outcome: told.append(outcome), lambda busy: busy.lease not in live)
    assert list(schedule.ready()) == [BASE]
    schedule.give(BASE)
    schedule.end(BASE, Busy("backbone", "node7", 12))
    assert told == [Busy("backbone", "node7", 12)]
    assert list(schedule.ready()) == []
    assert not schedule.over
    assert schedule.outcomes == {}
    live.clear()
    assert list(schedule.ready()) == [BASE]
    schedule.give(BASE)
    schedule.end(BASE, Made())
    live.add("small")
    schedule.end(SMALL, Busy("small"))
    assert list(schedule.ready()) == [SEARCH], "there is other work meanwhile"
    schedule.end(SEARCH, Undone("no"))
    live.clear()
    assert list(schedule.ready()) == [SMALL]
    assert PABEE.key in schedule.outcomes


def test_others_are_looked_at_now_and_then(tmp_path):
    now = SimpleNamespace(time=0.0)
    leases = Leases(tmp_path / "leases")
    free = Free(leases, lambda: now.time)
    lease = leases.take("a")
    assert not free(Busy("a"))
    assert free(Busy("b"))
    lease.release()
    assert not free(Busy("a"))
    now.time = 1.1
    assert free(Busy("a"))


def test_finished_cells_are_not_replaced_beside_others(tmp_path):
    store, other = Store(tmp_path, "run"), Store(tmp_path, "run")
    with present(store, force=False), present(other, force=False):
        with pytest.raises(UserError, match=r"process \d+ on .* is at work on this run, and --force"):
            present(other, force=True).__enter__()
        with present(Store(tmp_path, "sister"), force=True):
            pass
    with present(store, force=True), pytest.raises(UserError, match="makes this run anew, with --force"):
        present(other, force=False).__enter__()
    assert not store.leases.folder.exists()


def test_who_reads_and_times_waits_for_whoever_makes_or_times(tmp_path):
    store, maker, reader = (Store(tmp_path, "run") for _ in range(3))
    said, leases = [], []

    def say(line):
        said.append(line)
        leases.pop().__exit__(None, None, None)

    leases.append(reader.recording())
    leases[0].__enter__()
    with alone(store, say, look=0):
        pass
    leases.append(maker.leases.holding("a-1", **maker.about("cell")))
    leases[0].__enter__()
    with alone(store, say, look=0):
        pass
    assert ["reads and times this run" in said[0], "makes a cell of this run" in said[1], len(said)] == [True, True, 2]


def test_a_record_counts_for_others_when_it_is_new_whole_and_has_their_cells(smoke, copied):
    run = copied / smoke.path.name
    record = read_record(run)
    done = [cell for cell in record.cells if cell.status == "done"]
    outcomes = {cell.id: Made(Cell(cell.id, cell.label, cell.seed, run, 0.0, True)) for cell in done}
    published = Published(run)
    assert published.since(outcomes) is None, "it is that of before"
    Store(copied, run.name).publish({name: [] for name in TABLES}, {}, record)
    assert [cell.id for cell in published.since(outcomes)] == [cell.id for cell in record.cells]
    more = outcomes | {"x": Made(Cell("x", "x", 0, run, 0.0, False)), "y": Undone("no")}
    assert published.since(more) is None, "one cell was made here alone"
    (run / "curves.csv").write_text("edited")
    assert published.since(outcomes) is None


# --- real processes --------------------------------------------------------------------------------------------------


class Tiny(Maker):
    """Makes cells of nothing, and tells in one file for all processes what it does."""

    def __init__(self, root, name):
        self.root, self.name, self.store = root, name, Store(root / "results", "run")
        self.prepared = SimpleNamespace(notes=[])

    def tell(self, what, job):
        with (self.root / "log").open("a") as log:
            log.write(f"{what} {job} {self.name}\n")

    def _make(self, job, before):
        found = self.store.cell(job.label)
        if found is None:
            with self.store.making(job.label) as folder:
                self.tell("going-on" if (folder / "half").exists() else "begins", job.label)
                (folder / "half").touch()
                time.sleep(0.1)
                while (self.root / f"hold-{job.label}").exists():
                    time.sleep(0.02)
                (folder / "cell.json").write_text("{}")
                self.tell("made", job.label)
            found = self.store.path / "cells" / job.label
        return Cell(job.label, job.label, 0, found, 0.0, False)


def work(root, name):
    """What ``eebench run`` does, with cells of nothing."""
    maker = Tiny(root, name)
    executor = InProcess.__new__(InProcess)
    executor.maker, executor.free = maker, Free(maker.store.leases)
    base = Job("backbone", "base", 0)
    plan = [base, *(Job("method", f"m{number}", 0, (base.key,)) for number in range(6))]
    with present(maker.store, force=False):
        maker.tell("here", "all")
        outcomes = executor.execute(plan, lambda job, outcome: None, lambda job, pid: None, lambda: None)
        assert all(isinstance(made, Made) for made in outcomes.values()), outcomes
        with alone(maker.store, lambda line: None, look=0.02):
            maker.tell("times", "all")
            time.sleep(0.1)
            maker.tell("timed", "all")


def start(root, name):
    process = multiprocessing.get_context("fork").Process(target=work, args=(root, name))
    process.start()
    return process


def until(path, words):
    end = time.monotonic() + 60
    while not (path.exists() and words in path.read_text()):
        assert time.monotonic() < end, path.read_text() if path.exists() else "nothing"
        time.sleep(0.02)


def test_processes_share_the_work_and_one_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr("eebench.runs.together.LOOK", 0.05)  # as cells take a tenth of a second
    log = tmp_path / "log"
    (tmp_path / "hold-base").touch()
    first = start(tmp_path, "first")
    until(log, "begins base first")
    others = [start(tmp_path, name) for name in ("second", "third")]
    first.kill()
    for words in ("here all second", "here all third", "going-on base"):
        until(log, words)
    (tmp_path / "hold-base").unlink()
    for process in others:
        process.join(60)
        assert process.exitcode == 0
    lines = [line.split() for line in log.read_text().splitlines()]
    made = [job for what, job, _ in lines if what == "made"]
    assert sorted(made) == ["base", "m0", "m1", "m2", "m3", "m4", "m5"], "each cell once"
    assert {who for what, _, who in lines if what == "made"} == {"second", "third"}, "both had a share"
    begun = [line for line in lines if line[0] == "begins"]
    assert len(begun) == 7, "what the killed one had begun was gone on with"
    order = [what for what, *_ in lines]
    assert order.index("times") > max(n for n, what in enumerate(order) if what == "made")
    assert [what for what in order if what.startswith("time")] == ["times", "timed"] * 2, "one after the other"
    cells = tmp_path / "results" / "run" / "cells"
    assert sorted(path.name for path in cells.iterdir()) == sorted(made)
    Store(tmp_path / "results", "run")
    assert not (tmp_path / "results" / ".leases").exists()
