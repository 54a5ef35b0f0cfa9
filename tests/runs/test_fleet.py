"""A run on a cluster: options, orders, what is lost and what is given up; for real on one machine."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from eebench.errors import UserError
from eebench.runs import slurm
from eebench.runs.anywhere import fulfil
from eebench.runs.executors import Without
from eebench.runs.fleet import cluster_of, dispatch
from eebench.runs.how import Execution
from eebench.runs.orders import Answer, Lost, Order
from eebench.runs.plan import Job, Made, Undone
from eebench.runs.remote_options import Ray, Slurm, remote_of
from eebench.runs.spec import make_spec

SPEC = make_spec(methods=("pabee",), dataset="digits", budget="smoke", seeds=(0,), static=())


# --- options ---------------------------------------------------------------------------------------------------------


def test_options():
    assert remote_of("local") is None
    assert remote_of("slurm") == Slurm()
    assert remote_of("slurm[tasks=8, partition=gpu,minutes=90,gpus=1]") == Slurm(
        tasks=8, partition="gpu", minutes=90, gpus=1
    )
    assert remote_of("ray[address=auto]") == Ray(address="auto")
    assert Execution(executor="ray[tasks=2]").remote == Ray(tasks=2)
    assert Execution(executor="local[workers=2]").remote is None


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("slurm[", "'slurm[' is cut off"),
        ("slurm[tasks]", "'tasks' is no option=value"),
        ("slurm[tasks=0]", "tasks=0: input should be greater than or equal to 1"),
        ("slurm[tasks=many]", "tasks=many: input should be a valid integer"),
        ("slurm[queue=a]", "slurm has no option 'queue'; known: tasks, cpus, gpus, partition"),
        ("slurm[tasks=1,tasks=2]", "tasks is given twice"),
        ("slurm[cluster=pbs]", "cluster=pbs: input should be 'slurm' or 'local'"),
        ("ray[partition=a]", "ray has no option 'partition'"),
        ("kubernetes", "'kubernetes' is none; use local[workers=N]"),
    ],
)
def test_bad_options_are_one_line(text, line):
    with pytest.raises(UserError) as caught:
        Execution(executor=text)
    assert f"--executor: {line}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_contradictions():
    with pytest.raises(UserError, match="--shard and --executor slurm contradict each other"):
        Execution(executor="slurm", shard="1/2")
    with pytest.raises(UserError, match="leave --in-process out"):
        Execution(executor="ray", in_process=True)


# --- orders ----------------------------------------------------------------------------------------------------------


class Fake:
    """A cluster that answers as it is told; ``ends`` by shard, ``None`` for the last task."""

    hint = "they go on"

    def __init__(self, ends):
        self.ends, self.handed = ends, []

    def submit(self, carry_out, orders, *, exclusive):
        self.handed.append(([*orders], exclusive))
        return [SimpleNamespace(name=f"t{i}", look=self._look(order)) for i, order in enumerate(orders)]

    def _look(self, order):
        answers = iter([None, self.ends.get(order.shard, Answer())])  # running at the first look
        return lambda: next(answers)

    def close(self):
        pass


def sent(cluster, tasks=2):
    said = []
    order = Order(SPEC, (), Path("/results"), Path.cwd())
    return dispatch(cluster, fulfil, order, tasks, said.append, beat=lambda: None), said


def test_shards_run_beside_each_other_and_the_last_task_alone():
    cluster = Fake({})
    assert sent(cluster, 3)[0] == Answer()
    (shards, beside), (last, alone) = cluster.handed
    assert [order.shard for order in shards] == ["1/3", "2/3", "3/3"]
    assert (beside, alone) == (False, True)
    assert [order.shard for order in last] == [None]


def test_what_failed_is_told_once_and_not_tried_again():
    broken = ("pabee", 0, "its loss raised")
    cluster = Fake({"1/2": Answer((broken,)), "2/2": Answer((broken,)), None: Answer((broken,))})
    answer, _ = sent(cluster)
    assert answer.failed == (broken,)
    assert cluster.handed[1][0][0].given_up == (broken,)


def test_what_a_lost_task_did_not_make_the_last_one_makes():
    cluster = Fake({"1/2": Lost("node gone")})
    answer, said = sent(cluster)
    assert answer == Answer()
    assert "shard 1/2: lost, node gone" in said
    assert "1 of 2 tasks were lost: what they did not make, the last task makes" in said


def test_a_refusal_ends_the_run():
    with pytest.raises(UserError, match="no such folder"):
        sent(Fake({"2/2": Answer(refused="no such folder")}))
    with pytest.raises(UserError, match="reads and times was lost: killed; the same command goes on"):
        sent(Fake({None: Lost("killed")}))


def test_who_leaves_is_told_what_becomes_of_the_tasks():
    cluster, said = Fake({}), []

    def leave():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        dispatch(cluster, fulfil, Order(SPEC, (), Path("/results"), Path.cwd()), 2, said.append, beat=leave)
    assert said[-1] == "they go on"


def test_an_order_that_cannot_be_carried_out_is_refused_and_not_raised(tmp_path):
    gone = Order(SPEC, (), tmp_path, tmp_path / "gone")
    assert "is not on this machine" in fulfil(gone).refused
    (tmp_path / "file").write_text("")
    taken = Order(SPEC, (), tmp_path / "file", tmp_path, "1/1")
    assert fulfil(taken).refused.endswith("is a file")


# --- given up --------------------------------------------------------------------------------------------------------


def test_a_search_whose_methods_are_given_up_is_not_made():
    base = Job("backbone", "backbone", 0)
    find = Job("search", "a", 0, (base.key,))
    plan = [
        base,
        find,
        *(Job("method", label, 0, (base.key, *keys)) for label, keys in (("a", (find.key,)), ("b", ()))),
    ]
    seen, told = [], []

    def execute(plan, *rest):
        seen.extend(plan)
        return {job.key: Made() for job in plan}

    inner = SimpleNamespace(execute=execute, ask=lambda question: "answer")
    without = Without(inner, [("a", 0, "no")])
    outcomes = without.execute(plan, lambda job, outcome: told.append(job.key), None, None)
    assert [job.label for job in seen] == ["backbone", "b"]
    assert outcomes == {base.key: Made(), find.key: Undone("no"), plan[2].key: Undone("no"), plan[3].key: Made()}
    assert list(outcomes) == [job.key for job in plan]
    assert told == [find.key, plan[2].key]
    assert without.ask(None) == "answer"


# --- Slurm -----------------------------------------------------------------------------------------------------------


def test_without_sbatch_nothing_is_begun(monkeypatch, tmp_path):
    pytest.importorskip("submitit")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(UserError, match="there is no sbatch on this machine"), cluster_of(Slurm(), tmp_path / "logs"):
        pass
    assert not (tmp_path / "logs").exists()


def test_what_slurm_is_asked_for(monkeypatch, tmp_path):
    submitit = pytest.importorskip("submitit")
    asked, jobs = {}, []

    class Recorder:
        def __init__(self, folder, cluster):
            self.cluster = cluster

        def update_parameters(self, **parameters):
            asked.update(parameters)

        def map_array(self, task, orders):
            jobs.extend(orders)
            return [SimpleNamespace(job_id=f"7_{i}") for i in range(len(orders))]

    monkeypatch.setattr(submitit, "AutoExecutor", Recorder)
    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/sbatch")
    order = Order(SPEC, (), tmp_path, tmp_path)
    options = Slurm(tasks=2, partition="gpu", minutes=90, cpus=4, gpus=1, memory=16)
    with cluster_of(options, tmp_path) as cluster:
        tickets = cluster.submit(fulfil, [order, order], exclusive=False)
        assert "slurm_exclusive" not in asked
        cluster.submit(fulfil, [order], exclusive=True)
    assert [ticket.name for ticket in tickets] == ["7_0", "7_1"]
    expected = {"slurm_partition": "gpu", "timeout_min": 90, "cpus_per_task": 4, "gpus_per_node": 1, "mem_gb": 16}
    assert expected.items() <= asked.items()
    assert asked["slurm_exclusive"] is True
    assert asked["slurm_array_parallelism"] == 2


def test_a_preempted_task_goes_into_the_queue_again_with_the_same_order(tmp_path):
    pytest.importorskip("submitit")
    order = Order(SPEC, (), tmp_path, tmp_path)
    again = slurm.Task(fulfil).checkpoint(order)
    assert isinstance(again.function, slurm.Task)
    assert again.args == (order,)


# --- for real --------------------------------------------------------------------------------------------------------


def same_but_for_time(one, other):
    for name in ("curves", "exits", "operating_points", "summary"):
        left, right = (pd.read_csv(path / f"{name}.csv") for path in (one, other))
        timed = [column for column in left if "cpu" in column or "ms" in column]
        pd.testing.assert_frame_equal(left.drop(columns=timed), right.drop(columns=timed))


def command(executor, results, plugin):
    return (
        f"run -m pabee,failing --plugin {plugin} -d digits --budget smoke --seeds 0,1 --static 0.25 --threads 1"
        f" --latency-samples 8 --latency-seconds 1 --results {results} --reports {results}-reports"
        f" --executor '{executor}'"
    )


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["slurm[cluster=local,tasks=2]", "ray[tasks=2]"])
def test_tables_are_those_of_one_machine(typed, tmp_path, plugin, executor):
    pytest.importorskip("ray" if executor.startswith("ray") else "submitit")
    here, there = tmp_path / "here", tmp_path / "there"
    status, _, err = typed(command("local", here, plugin))
    assert status == 1, err  # one of its methods fails
    status, _, err = typed(command(executor, there, plugin))
    assert status == 1, err
    (one,), (other,) = (list(path.glob("digits-*")) for path in (here, there))
    same_but_for_time(one, other)
    assert "failed: failing" in err
    assert err.count("always raises") <= 4
    logs = list(there.glob("digits-*/failed-*.log"))
    assert len(logs) == 2, "each seed's failing cell was tried once"
