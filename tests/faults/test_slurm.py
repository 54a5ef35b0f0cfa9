"""A real Slurm of one node, started here where Debian's slurmctld, slurmd and munge are installed and may be run."""

import os
import shutil
import socket
import subprocess
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
    methods=("pabee", "sdn"), dataset="digits", budget="smoke", seeds=(0, 1), static=(), threads=1,
    latency_samples=8, latency_seconds=1.0,
)  # fmt: skip
NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "scontrol")

CONFIG = """
ClusterName=one
SlurmctldHost={host}
SlurmctldPort={port}
SlurmdPort={next_port}
AuthType=auth/munge
AuthInfo=socket={at}/munge.sock
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={at}/state
SlurmdSpoolDir={at}/spool
SlurmctldPidFile={at}/slurmctld.pid
SlurmdPidFile={at}/slurmd.pid
SlurmctldLogFile={at}/slurmctld.log
SlurmdLogFile={at}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
MpiDefault=none
JobRequeue=1
NodeName={host} CPUs=2 State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


@pytest.fixture(scope="module")
def slurm():
    """The cluster, up; its configuration is in the environment."""
    pytest.importorskip("submitit")
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if missing:
        pytest.skip(f"no {', '.join(missing)}: apt-get install slurmctld slurmd munge")
    if os.geteuid() != 0:
        pytest.skip("only root may start slurmd")
    at = Path(f"/tmp/eebench-slurm-{os.getpid()}")  # a socket's path must be short
    for folder in (at, at / "state", at / "spool"):
        folder.mkdir(mode=0o700)
    (at / "key").write_bytes(os.urandom(1024))
    (at / "key").chmod(0o400)
    with socket.socket() as one, socket.socket() as two:
        one.bind(("", 0))
        two.bind(("", 0))
        ports = {"port": one.getsockname()[1], "next_port": two.getsockname()[1]}
    (at / "slurm.conf").write_text(CONFIG.format(host=socket.gethostname().partition(".")[0], at=at, **ports))
    munge = [f"--{name}={at}/{file}" for name, file in MUNGE.items()]
    started = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(at / "slurm.conf"))
        try:
            started.append(subprocess.Popen(["munged", "--foreground", "--force", *munge], stderr=subprocess.DEVNULL))
            time.sleep(1)
            started += [subprocess.Popen([name, "-D"], stderr=subprocess.DEVNULL) for name in ("slurmctld", "slurmd")]
            end = time.monotonic() + 30
            while "idle" not in _said("sinfo", "--noheader", "--format=%t"):
                if time.monotonic() > end:
                    pytest.skip(f"slurm does not come up here: {(at / 'slurmctld.log').read_text()[-300:]}")
                time.sleep(0.5)
            yield at
        finally:
            for process in reversed(started):
                process.terminate()
            for process in started:
                process.wait(20)
            shutil.rmtree(at, ignore_errors=True)


MUNGE = {
    "key-file": "key", "socket": "munge.sock", "pid-file": "munge.pid", "log-file": "munge.log", "seed-file": "seed",
}  # fmt: skip


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """The run on this machine alone."""
    results = tmp_path_factory.mktemp("here")
    return execute(SPEC, Registry.installed(), results, reporter=Reporter(quiet=True)).path


def _said(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout


def _on_slurm(results, begun=lambda jobs: None):
    """The run on the cluster; ``begun`` is called with the running shards' ids once both are at a cell."""

    def watch() -> None:
        while not done.wait(0.1):
            jobs = _said("squeue", "--noheader", "--states=R", "--array", "--format=%i").split()
            if len(jobs) == 2 and len(list(results.glob(".leases/backbone-*"))) == 2:
                begun(jobs)
                return

    done = threading.Event()
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    reporter = Reporter(quiet=True)
    how = Execution(executor="slurm[tasks=2,partition=main,minutes=10]")
    try:
        outcome = execute(SPEC, Registry.installed(), results, reporter=reporter, how=how)
    finally:
        done.set()
        watcher.join()
    return outcome, reporter.lines


def test_tables_are_those_of_one_machine(slurm, here, tmp_path):
    outcome, said = _on_slurm(tmp_path / "there")
    assert outcome.failed == []
    same_but_for_time(here, outcome.path)
    assert [line for line in said if line.startswith("reading and timing: ended")]


def test_a_requeued_task_goes_on(slurm, here, tmp_path):
    again = []

    def requeue(jobs):
        again.append(subprocess.run(["scontrol", "requeue", jobs[0]], capture_output=True, text=True, check=False))

    outcome, _ = _on_slurm(tmp_path / "there", requeue)
    assert [done.returncode for done in again] == [0]
    assert outcome.failed == []
    same_but_for_time(here, outcome.path)


def test_what_a_cancelled_task_did_not_make_is_made(slurm, here, tmp_path, monkeypatch):
    monkeypatch.setattr("eebench.runs.slurm.QUEUE_LOOK", 2.0)
    outcome, said = _on_slurm(tmp_path / "there", lambda jobs: subprocess.run(["scancel", jobs[0]], check=True))
    assert [line for line in said if "lost" in line], said
    assert outcome.failed == []
    same_but_for_time(here, outcome.path)


def test_a_partition_that_there_is_none_of(slurm, tmp_path):
    from eebench.errors import UserError

    how = Execution(executor="slurm[partition=none]")
    with pytest.raises(UserError, match=r"the tasks were not taken: .*partition") as caught:
        execute(SPEC, Registry.installed(), tmp_path, reporter=Reporter(quiet=True), how=how)
    assert "\n" not in str(caught.value)
