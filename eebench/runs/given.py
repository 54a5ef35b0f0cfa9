"""Networks, data sets and methods given to :func:`eebench.run` as Python objects: each becomes a plugin with a name."""

from __future__ import annotations

import copy
import hashlib
from typing import Any

from eebench.api import Backbone, Method
from eebench.data import DataSet
from eebench.data.base import Data
from eebench.discovery import Plugin
from eebench.errors import UserError

__all__ = ["named"]


def named(values: dict[str, Any], plugins: list[Plugin]) -> tuple[dict[str, Any], list[Plugin]]:
    """Put names where objects were given.

    Args:
        values: fields of a run's spec. ``methods`` may hold ``Method`` classes, ``backbone`` be a ``Backbone`` class or
            a network made, and ``dataset`` a ``DataSet`` class or a ``Data`` object.
        plugins: what brings names already.

    Returns:
        The fields with names in their place, and the plugins with those that bring them.

    Raises:
        UserError: an object of another kind, or one without a name.
    """
    values, plugins = dict(values), list(plugins)

    def name_of(field: str, base: type, made: Any) -> str:
        if not (isinstance(made, type) and issubclass(made, base)):
            raise UserError(f"{field}: {made!r} is neither a name nor an eebench {base.__name__}")
        name = getattr(made, "name", None)
        if not isinstance(name, str) or not name:
            raise UserError(f"{field}: class {made.__qualname__} has no name; give it one: name = 'mine'")
        if made not in plugins:
            plugins.append(made)
        return name

    methods = values.get("methods")
    if isinstance(methods, type):
        methods = (methods,)
    if isinstance(methods, (list, tuple)):
        found = [m if isinstance(m, str) else name_of("methods", Method, m) for m in methods]
        values["methods"] = tuple(found)
    backbone = values.get("backbone")
    if isinstance(backbone, Backbone):
        backbone = _network(backbone)
    if backbone is not None and not isinstance(backbone, str):
        values["backbone"] = name_of("backbone", Backbone, backbone)
    dataset = values.get("dataset")
    if isinstance(dataset, Data):
        dataset = _data_set(dataset)
    if isinstance(dataset, type):
        values["dataset"] = name_of("dataset", DataSet, dataset)
    return values, plugins


def _data_set(data: Data) -> type[DataSet]:
    """A data set that is this very object."""
    from eebench.data.arrays import given

    class Given(DataSet):
        """Given from Python."""

        name = data.name
        modality = data.modality

        def load(self, request: Any) -> Data:
            return given(data, request)

    return Given


def _network(backbone: Backbone) -> type[Backbone]:
    """A backbone that starts as a copy of this very network, its weights being its own."""
    label = getattr(backbone, "name", "") or type(backbone).__name__.lower()
    digest = hashlib.sha256(repr(type(backbone)).encode())
    for key, tensor in backbone.state_dict().items():
        digest.update(key.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    original = copy.deepcopy(backbone).cpu()
    original.own_weights = digest.hexdigest()

    class Given(type(backbone)):  # type: ignore[misc]  # a class known when it runs
        """Given from Python."""

        name = label

        @classmethod
        def create(cls, *, outputs: int, **sizes: Any) -> Backbone:
            made = copy.deepcopy(original)
            width = made.eval().plain(made.example()).shape[-1]
            if width != outputs:
                raise UserError(f"the network given as backbone answers {width} numbers, the data set needs {outputs}")
            return made.train()

    Given.__module__, Given.__qualname__ = type(backbone).__module__, type(backbone).__qualname__
    return Given
