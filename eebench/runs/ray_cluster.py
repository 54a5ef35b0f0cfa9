"""Tasks of a Ray cluster: tried again when their node dies, never for a method's own error."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from eebench.errors import UserError
from eebench.runs.orders import Answer, CarryOut, Lost, Order, Ticket
from eebench.runs.remote_options import Ray

__all__ = ["TRIES", "RayCluster"]

TRIES = 5  # times more that a task is begun after its node or its process died


class RayCluster:
    """A Ray cluster that can be reached; without an address one on this machine, as long as this lasts.

    Args:
        asked: address and what a task gets.

    Raises:
        UserError: Ray is not installed, or there is no cluster at the address.
    """

    def __init__(self, asked: Ray) -> None:
        try:
            import ray
        except ImportError:
            raise UserError("--executor ray needs Ray: pip install 'eebench[ray]'") from None
        self.asked = asked
        self.ray: Any = ray
        self.hint = "tasks of this run end with this command, each having a checkpoint; the same command goes on"
        self._mine = not ray.is_initialized()
        if self._mine:
            own: dict[str, Any] = {} if asked.address else {
                "num_cpus": max(asked.cpus, os.cpu_count() or 1), "include_dashboard": False,
            }  # fmt: skip
            try:
                self.ray.init(
                    address=asked.address, log_to_driver=False, logging_level="ERROR", configure_logging=True, **own
                )
            except (ConnectionError, ValueError, RuntimeError, OSError) as error:
                words = " ".join(str(error).split())
                raise UserError(f"--executor ray: no cluster at '{asked.address}': {words[:200]}") from None
        self._roomy(asked)

    def _roomy(self, asked: Ray) -> None:
        """A task that no node has room for would wait for ever."""
        for node in self.ray.nodes():
            has = node.get("Resources", {})
            if node.get("Alive") and has.get("CPU", 0) >= asked.cpus and has.get("GPU", 0) >= asked.gpus:
                return
        self.close()
        raise UserError(f"--executor ray: no node has {asked.cpus} CPUs and {asked.gpus} GPUs for a task")

    def submit(self, carry_out: CarryOut, orders: Sequence[Order], *, exclusive: bool) -> list[Ticket]:
        """As every cluster does.

        An exclusive task asks for all CPUs of the smallest node that has room for it: no other task of any run fits
        beside it there.
        """
        cpus = self._whole_node() if exclusive else self.asked.cpus
        task = self.ray.remote(num_cpus=cpus, num_gpus=self.asked.gpus, max_retries=TRIES, retry_exceptions=False)(
            carry_out
        )
        return [_Remote(self.ray, task.remote(order)) for order in orders]

    def _whole_node(self) -> float:
        nodes = [node["Resources"] for node in self.ray.nodes() if node.get("Alive")]
        roomy = [n for n in nodes if n.get("CPU", 0) >= self.asked.cpus and n.get("GPU", 0) >= self.asked.gpus]
        return float(min((n["CPU"] for n in roomy), default=self.asked.cpus))

    def close(self) -> None:
        """Leave the cluster; one that was started for this run ends."""
        if self._mine:
            self.ray.shutdown()


class _Remote:
    """One task."""

    def __init__(self, ray: Any, reference: Any) -> None:
        self.ray, self.reference = ray, reference
        self.name = reference.task_id().hex()[:12]

    def look(self) -> Answer | Lost | None:
        """As every ticket does."""
        done, _ = self.ray.wait([self.reference], timeout=0)
        if not done:
            return None
        try:
            answer: Answer = self.ray.get(self.reference)
            return answer
        except self.ray.exceptions.RayError as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            return Lost(lines[-1][:300] if lines else type(error).__name__)
