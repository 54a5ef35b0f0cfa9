"""A Ray cluster of three nodes, one of which is killed while its task trains."""

import threading
import time
from pathlib import Path

import pytest

from eebench.plugins.registry import Registry
from eebench.progress import Reporter
from eebench.runs.anywhere import execute
from eebench.runs.how import Execution
from eebench.runs.spec import make_spec
from tests.runs.test_fleet import same_but_for_time

pytestmark = pytest.mark.faults

SPEC = make_spec(
    methods=("pabee", "sdn", "branchynet"), dataset="digits", budget="smoke", seeds=(0, 1, 2), static=(), threads=1,
    latency_samples=8, latency_seconds=1.0,
)  # fmt: skip


def test_a_node_dies_and_no_cell_is_lost(tmp_path):
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    here = execute(SPEC, Registry.installed(), tmp_path / "here", reporter=Reporter(quiet=True))
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    there, killed = tmp_path / "there", []

    def kill() -> None:
        """When three tasks are each at a cell of their own."""
        while len(_at_work(there)) < 3:
            time.sleep(0.05)
        killed.append(sorted(_at_work(there)))
        cluster.remove_node(nodes[1], allow_graceful=False)

    try:
        ray.init(address=cluster.address, log_to_driver=False)
        thread = threading.Thread(target=kill, daemon=True)
        thread.start()
        how = Execution(executor=f"ray[address={cluster.address},tasks=3]")
        outcome = execute(SPEC, Registry.installed(), there, reporter=Reporter(quiet=True), how=how)
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert killed, "no three tasks were ever at work at once"
    assert outcome.failed == []
    assert len(outcome.cells) == 12
    same_but_for_time(here.path, outcome.path)


def _at_work(results: Path) -> set[str]:
    return {path.name for path in results.glob(".leases/*") if path.name.startswith(("backbone-", "pabee-", "sdn-"))}
