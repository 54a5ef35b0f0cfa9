"""The plan of a run, its order and what waits for what."""

from types import SimpleNamespace

from eebench.runs.plan import make_plan
from eebench.runs.spec import make_spec


def planned(skips=(), **values):
    spec = make_spec(methods=("pabee", "jei_dnn", "shy"), seeds=(3, 5), static=(0.5,), **values)
    methods = [SimpleNamespace(label=label) for label in spec.methods]
    return make_plan(SimpleNamespace(spec=spec, methods=methods, depth=12, skips=dict.fromkeys(skips, "why")))


def test_of_every_seed_the_backbone_comes_first_and_all_else_needs_it_alone():
    plan = planned(skips=["shy"])
    assert [(job.kind, job.label, job.seed) for job in plan] == [
        (kind, label, seed)
        for seed in (3, 5)
        for kind, label in (
            ("backbone", "backbone"),
            ("static", "static[blocks=6]"),
            ("method", "pabee"),
            ("method", "jei_dnn"),
        )
    ]
    assert {job.needs for job in plan if job.kind != "backbone"} == {
        ("backbone backbone seed 3",),
        ("backbone backbone seed 5",),
    }
    assert all(job.seed == int(need[-1]) for job in plan for need in job.needs)
    assert len({job.key for job in plan}) == len(plan)


def test_a_method_is_searched_for_once_and_every_seed_waits_for_it():
    plan = planned(skips=["shy"], search=4)
    searches = [job for job in plan if job.kind == "search"]
    assert [(job.label, job.seed) for job in searches] == [("pabee", 3), ("jei_dnn", 3)]
    for job in plan:
        if job.kind == "method":
            assert job.needs == (f"backbone backbone seed {job.seed}", f"search {job.label} seed 3")


def test_every_job_stands_behind_those_it_needs():
    plan = planned(search=2)
    seen = set()
    for job in plan:
        assert seen.issuperset(job.needs)
        seen.add(job.key)
