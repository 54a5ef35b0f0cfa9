"""Tasks as a Slurm job array, by submitit."""

from __future__ import annotations

import logging
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eebench.errors import UserError
from eebench.runs.orders import Answer, CarryOut, Lost, Order, Ticket
from eebench.runs.remote_options import Slurm

if TYPE_CHECKING:
    import submitit

__all__ = ["SlurmCluster", "Task"]

QUEUE_LOOK = 20.0  # seconds between two looks at the queue, which a busy controller must answer
WARNING = 120  # seconds before its time limit that a task is told, so that it writes a checkpoint


class Task:
    """An order carried out by submitit, which asks it for a checkpoint when Slurm is about to end it."""

    def __init__(self, carry_out: CarryOut) -> None:
        self.carry_out = carry_out

    def __call__(self, order: Order) -> Answer:
        """Do what the order says."""
        return self.carry_out(order)

    def checkpoint(self, order: Order) -> submitit.helpers.DelayedSubmission:
        """What goes into the queue again after preemption or the time limit: the same order, which finds its cells."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, order)


class SlurmCluster:
    """A Slurm cluster that ``sbatch`` reaches; or processes of this machine, under the same interface.

    Args:
        asked: partition, time limit and the like.
        logs: folder for what tasks print, and for submitit's own files.

    Raises:
        UserError: submitit is not installed, or there is no ``sbatch`` here.
    """

    def __init__(self, asked: Slurm, logs: Path) -> None:
        try:
            import submitit
        except ImportError:
            raise UserError("--executor slurm needs submitit: pip install 'eebench[slurm]'") from None
        if asked.cluster == "slurm" and shutil.which("sbatch") is None:
            raise UserError(
                "--executor slurm: there is no sbatch on this machine; slurm[cluster=local] tries it without"
            )
        logging.getLogger("submitit").setLevel(logging.ERROR)  # a cluster without accounting would warn at every look
        self.asked, self.logs = asked, logs
        self._executor = submitit.AutoExecutor(folder=logs / "%j", cluster=asked.cluster)
        self.hint = "tasks go on in the queue; the same command joins what they made, and scancel ends them"
        if asked.cluster == "local":
            self.hint = "tasks on this machine end with this command; the same command goes on"
        self._jobs: list[Any] = []

    def submit(self, carry_out: CarryOut, orders: Sequence[Order], *, exclusive: bool) -> list[Ticket]:
        """As every cluster does: one job array."""
        asked, run = self.asked, orders[0].spec.run_name
        parameters: dict[str, Any] = {
            "name": f"eebench-{run}"[:80], "timeout_min": asked.minutes, "cpus_per_task": asked.cpus,
            "gpus_per_node": asked.gpus, "tasks_per_node": 1, "nodes": 1,
        }  # fmt: skip
        if asked.cluster == "slurm":
            own = {"partition": asked.partition, "account": asked.account, "exclusive": exclusive or None}
            parameters |= {f"slurm_{key}": value for key, value in own.items() if value is not None}
            parameters |= {"slurm_signal_delay_s": WARNING, "slurm_array_parallelism": asked.tasks}
        if asked.memory is not None:
            parameters["mem_gb"] = asked.memory
        self._executor.update_parameters(**parameters)
        try:
            jobs = self._executor.map_array(Task(carry_out), orders)
        except Exception as error:  # submitit's own, and sbatch's: an unknown partition, a limit
            words = " ".join(str(error).split())
            raise UserError(f"--executor slurm: the tasks were not taken: {words[-300:]}") from error
        self._jobs += jobs
        return [_Submitted(job) for job in jobs]

    def close(self) -> None:
        """Processes of this machine end with whoever waits for them; tasks of a cluster go on."""
        if self.asked.cluster == "local":
            for job in self._jobs:
                if not job.done():
                    job.cancel(check=False)


class _Submitted:
    """One job of an array.

    Where a cluster keeps no accounts, submitit cannot tell a job that was cancelled or killed from one that runs: it
    waits for a result that never comes. So the queue is asked as well.
    """

    def __init__(self, job: submitit.Job[Answer]) -> None:
        self.job, self.name = job, str(job.job_id)
        self._looked, self._gone = time.monotonic(), 0

    def look(self) -> Answer | Lost | None:
        """As every ticket does."""
        if not self.job.done():
            if self._left():
                return Lost(f"it left the queue without a result; see {self.job.paths.stderr}")
            return None
        error = self.job.exception()
        if error is None:
            return self.job.result()
        lines = [line for line in str(error).splitlines() if line.strip() and not line.startswith("-----")]
        words = lines[-1].strip() if lines else type(error).__name__
        return Lost(f"{self.job.state.lower()}, {words}; see {self.job.paths.stderr}")

    def _left(self) -> bool:
        """Whether two looks in a row found it neither waiting nor running: a result may reach this machine late."""
        if shutil.which("squeue") is None or time.monotonic() - self._looked < QUEUE_LOOK:
            return False
        self._looked = time.monotonic()
        try:
            seen = subprocess.run(
                ["squeue", "--noheader", "--jobs", self.name], capture_output=True, text=True, timeout=60, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return False
        unknown = seen.returncode != 0 and "Invalid job id" in seen.stderr
        gone = unknown or (seen.returncode == 0 and not seen.stdout.strip())
        self._gone = self._gone + 1 if gone else 0
        return self._gone > 1
