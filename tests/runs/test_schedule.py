"""Who comes next, and who fails with whom."""

from eebench.runs.plan import Job, Made, Undone
from eebench.runs.schedule import Schedule

BASE = Job("backbone", "backbone", 0)
SMALL = Job("static", "static[blocks=1]", 0, (BASE.key,), 1)
SEARCH = Job("search", "pabee", 0, (BASE.key,))
PABEE = Job("method", "pabee", 0, (BASE.key, SEARCH.key))
LATE = Job("method", "pabee", 1, (SEARCH.key,))
PLAN = [BASE, SMALL, SEARCH, PABEE, LATE]


def test_jobs_wait_for_those_they_need_and_come_in_the_plans_order():
    told = []
    schedule = Schedule(PLAN, lambda job, outcome: told.append(job))
    assert list(schedule.ready()) == [BASE]
    assert schedule.give(BASE) == {}
    assert list(schedule.ready()) == []
    schedule.end(BASE, Made(notes=("a",)))
    assert list(schedule.ready()) == [SMALL, SEARCH]
    assert schedule.give(SEARCH) == {BASE.key: Made(notes=("a",))}
    assert list(schedule.ready()) == [SMALL]
    schedule.end(SEARCH, Made())
    assert list(schedule.ready()) == [SMALL, PABEE, LATE]
    for job in (LATE, PABEE, SMALL):
        assert not schedule.over
        schedule.end(job, Made())
    assert schedule.over
    assert told == [BASE, SEARCH, LATE, PABEE, SMALL]
    assert list(schedule.outcomes) == [job.key for job in PLAN], "whatever the order in which they ended"


def test_what_needs_a_job_that_failed_fails_with_it_and_the_others_go_on():
    told = {}
    schedule = Schedule(PLAN, lambda job, outcome: told.update({job.key: outcome}))
    schedule.end(BASE, Made())
    why = Undone("all trials failed")
    schedule.end(SEARCH, why)
    assert told[PABEE.key] == told[LATE.key] == why
    assert list(schedule.ready()) == [SMALL]
    assert not schedule.over
    schedule.end(SMALL, Made())
    assert schedule.over
