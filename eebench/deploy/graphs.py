"""Segments as graphs: traced by ``torch.export``, what nobody reads left out, written as ONNX or torch's programs."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.export import Dim, ExportedProgram
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from eebench.deploy.drive import SEEN
from eebench.deploy.segments import Cut
from eebench.errors import UserError

if TYPE_CHECKING:
    import onnx_ir

__all__ = ["Graph", "Stretch", "as_onnx", "trace_all", "trace_part"]


@dataclass(frozen=True)
class Graph:
    """A traced part: its program, and its arguments and results by name with their shapes and types."""

    program: ExportedProgram
    takes: dict[str, tuple[list[int | str], str]]  # name -> (dimensions, the varying ones by name; numpy's type)
    gives: tuple[str, ...]


@dataclass(frozen=True)
class Stretch:
    """The graphs of one exit."""

    segment: Graph
    answer: Graph | None  # classifies rows that stop, where the segment does not classify all


def trace_all(segments: Sequence[Cut], answers: Sequence[Cut | None]) -> list[Stretch]:
    """Trace every part, from the last to the first, so that each gives what those behind it read and nothing else.

    Raises:
        UserError: something in a part cannot be traced.
    """
    found: list[Stretch] = []
    wanted: set[str] = set()
    for position in reversed(range(len(segments))):
        cut, late = segments[position], answers[position]
        answer = None if late is None else trace_part(late, ["logits"], f"the classifier of exit {position + 1}")
        asked = wanted | (set() if answer is None else {*answer.takes})
        gives = [name for name in cut.makes if name in asked or name == "logits" or name.startswith(SEEN)]
        segment = trace_part(cut, gives, f"segment {position + 1} of {len(segments)}")
        wanted = (asked - {*gives}) | {*segment.takes}
        found.append(Stretch(segment, answer))
    return found[::-1]


def trace_part(cut: Cut, gives: Sequence[str], what: str) -> Graph:
    """Trace one part; arguments that it does not read are no arguments.

    Raises:
        UserError: it cannot be traced; ``what`` says what.
    """
    read = _touched(cut)
    try:
        program = _traced(cut, read, gives)
        used = [name for name, users in zip(read, _users(program), strict=True) if users]
        if used != read:  # looked at, but nothing that is given depends on it
            read, program = used, _traced(cut, used, gives)
    except UserError:
        raise
    except Exception as error:  # torch's tracer raises whatever the code it runs raises
        raise UserError(f"{what} cannot be exported: {_first_line(error)}") from error
    takes = {name: (_dimensions(cut, name), str(cut.example[name].dtype).removeprefix("torch.")) for name in read}
    return Graph(program, takes, tuple(gives))


def as_onnx(graph: Graph, opset: int, what: str) -> onnx_ir.Model:
    """The program as an ONNX model, its weights still in memory; results are in the order of ``gives``.

    ONNX has no two things of one name: what a graph both takes and gives leaves as ``….next``.

    Raises:
        UserError: an operator that ONNX, or this opset, does not have.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter's own use of what newer torch calls deprecated
            made = torch.onnx.export(
                graph.program,
                dynamo=True,
                input_names=list(graph.takes),
                output_names=[f"{name}.next" if name in graph.takes else name for name in graph.gives],
                opset_version=opset,
                verbose=False,
            )
    except Exception as error:
        raise UserError(f"{what} cannot be written as ONNX, opset {opset}: {_first_line(error)}") from error
    assert made is not None
    found = made.model.opset_imports.get("", opset)
    if found != opset:
        raise UserError(f"{what} needs ONNX opset {found}, not {opset}: give --opset {found}")
    _forget_origin(made.model)
    return made.model


def _forget_origin(model: onnx_ir.Model) -> None:
    """Leave out where in the sources every node came from: most of a file, and paths of the machine that made it."""
    for node in model.graph.all_nodes():
        node.metadata_props.clear()
        node.doc_string = None
        for value in node.outputs:
            value.metadata_props.clear()
    for value in (*model.graph.inputs, *model.graph.initializers.values()):
        value.metadata_props.clear()
    model.graph.metadata_props.clear()
    model.metadata_props.clear()


class _Touched(TorchFunctionMode):
    """Which of some tensors anything is done with."""

    def __init__(self, tensors: Mapping[str, torch.Tensor]) -> None:
        super().__init__()
        self.names = {id(tensor): name for name, tensor in tensors.items()}
        self.seen: set[str] = set()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for each in tree_leaves((args, kwargs or {})):
            if id(each) in self.names:
                self.seen.add(self.names[id(each)])
        return func(*args, **(kwargs or {}))


@torch.no_grad()
def _touched(cut: Cut) -> list[str]:
    with _Touched(cut.example) as touched:
        cut.part.made(dict(cut.example))
    return [name for name in cut.example if name in touched.seen]


def _traced(cut: Cut, names: Sequence[str], gives: Sequence[str]) -> ExportedProgram:
    rest = {name: column for name, column in cut.example.items() if name not in names}
    part = cut.part.like(names, gives, rest).eval()
    shapes: list[Any] = [dict.fromkeys(cut.varying[name], Dim.DYNAMIC) or None for name in names]
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        arguments = tuple(cut.example[name] for name in names)
        return torch.export.export(part, arguments, dynamic_shapes=(tuple(shapes),), strict=False)


def _users(program: ExportedProgram) -> list[bool]:
    """Whether anything in the graph reads each argument."""
    read = {node.name: bool(node.users) for node in program.graph.nodes if node.op == "placeholder"}
    return [read[str(name)] for name in program.graph_signature.user_inputs]


def _dimensions(cut: Cut, name: str) -> list[int | str]:
    return [cut.varying[name].get(place, size) for place, size in enumerate(cut.example[name].shape)]


def _first_line(error: Exception) -> str:
    """What is wrong, without torch's report of where it was."""
    cause: BaseException = error
    while cause.__cause__ is not None:  # the exporter wraps what it was that failed
        cause = cause.__cause__
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return f"{type(cause).__name__}: {lines[0]}" if lines else type(cause).__name__
