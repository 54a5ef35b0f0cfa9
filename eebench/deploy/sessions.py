"""Graphs opened in ONNX Runtime: on one thread pool, and with what lies between them left on the device. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eebench.deploy.drive import SEEN, Held
from eebench.deploy.folder import GraphFile
from eebench.errors import UserError, shown

__all__ = ["Opener", "Session", "on_host"]

DEVICES = {"CUDAExecutionProvider": "cuda", "TensorrtExecutionProvider": "cuda", "CPUExecutionProvider": "cpu"}
"""Where a provider keeps its arrays, as ONNX Runtime calls it."""


def on_host(array: Any) -> np.ndarray:
    """An array as numpy has it, wherever it is."""
    return array if isinstance(array, np.ndarray) else array.numpy()


class Session:
    """One graph, opened: named arrays in, named arrays out, all of numpy."""

    def __init__(self, session: Any, graph: GraphFile) -> None:
        self._run, self._takes, self._gives = session.run, tuple(graph.takes), tuple(graph.gives)

    def __call__(self, held: Held) -> Held:
        """What the graph makes of the arrays it takes."""
        found = self._run(None, {name: on_host(held[name]) for name in self._takes})
        return dict(zip(self._gives, found, strict=True))


class BoundSession(Session):
    """One graph whose inputs and outputs are bound: an output stays on the device until somebody looks at it.

    What decides and what is answered is bound to the host, so that it comes with the run and not by a copy of its own.
    """

    def __init__(self, session: Any, graph: GraphFile, device: str) -> None:
        super().__init__(session, graph)
        self._session = session
        self._places = [  # a graph's own names of its outputs are what they stand for in the order of ``gives``
            (output.name, "cpu" if name.startswith(SEEN) or name == "logits" else device)
            for output, name in zip(session.get_outputs(), self._gives, strict=True)
        ]

    def __call__(self, held: Held) -> Held:
        """As every session does."""
        binding = self._session.io_binding()
        for name in self._takes:
            array = held[name]
            if isinstance(array, np.ndarray):
                binding.bind_cpu_input(name, array)
            else:
                binding.bind_ortvalue_input(name, array)
        for name, place in self._places:
            binding.bind_output(name, place)
        self._session.run_with_iobinding(binding)
        return dict(zip(self._gives, binding.get_outputs(), strict=True))


class Opener:
    """Opens graphs, all on one thread pool.

    Args:
        folder: where they lie.
        opset: that they were exported with.
        threads: that compute.
        providers: ONNX Runtime's, in order of preference.
        bind: whether arrays between graphs stay on the device; None: where the first provider is a GPU's.

    Raises:
        UserError: no ONNX Runtime, a provider it has not, or arrays left on a device that is not known.
    """

    pool: int | None = None  # threads of the process's pool, once there is one

    def __init__(
        self, folder: Path, opset: int | None, threads: int, providers: Sequence[str], bind: bool | None = None
    ) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise UserError("running an exported model needs ONNX Runtime: pip install 'eebench[onnx]'") from None
        self.folder, self.opset = folder, opset
        self.ort: Any = onnxruntime
        absent = [each for each in providers if each not in onnxruntime.get_available_providers()]
        if absent:
            have = ", ".join(onnxruntime.get_available_providers())
            raise UserError(f"ONNX Runtime here has no {absent[0]}; it has {have}")
        self.providers = list(providers)
        device = DEVICES.get(self.providers[0]) if self.providers else "cpu"
        if bind and device is None:
            raise UserError(f"nobody knows on which device {self.providers[0]} keeps its arrays: leave bind out")
        self.device = device if bind or (bind is None and device == "cuda") else None
        self.options = onnxruntime.SessionOptions()
        self.options.log_severity_level = 3
        if threads < 1:
            raise UserError(f"threads must be at least 1, not {threads}")
        if threads > 1 and Opener.pool is None:
            Opener.pool = threads
            onnxruntime.set_global_thread_pool_sizes(threads, 1)
        self.options.use_per_session_threads = Opener.pool is None
        self.options.intra_op_num_threads = 1 if Opener.pool is None else 0

    def __call__(self, graph: GraphFile) -> Session:
        """Open a graph."""
        path = self.folder / graph.file
        try:
            session = self.ort.InferenceSession(str(path), self.options, providers=self.providers)
        except Exception as error:  # ONNX Runtime's own classes derive from nothing in common
            reason = " ".join(str(error).split())
            raise UserError(
                f"{shown(path)} (opset {self.opset}) cannot be opened by ONNX Runtime {self.ort.__version__}: {reason}"
            ) from None
        return Session(session, graph) if self.device is None else BoundSession(session, graph, self.device)
