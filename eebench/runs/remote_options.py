"""``--executor slurm[…]`` and ``ray[…]``: what may stand in the brackets, and what it means."""

from __future__ import annotations

import re
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from eebench.errors import UserError

__all__ = ["Ray", "Remote", "Slurm", "remote_of"]

_FORM = re.compile(r"(slurm|ray)(?:\[([^\[\]]*)\])?")


class Remote(BaseModel):
    """Where tasks run that make a run's cells, and what each of them gets."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: ClassVar[str]
    tasks: int = Field(4, ge=1, le=1000)
    """How many tasks share the cells, a shard each."""
    cpus: int = Field(1, ge=1, le=1024)
    """CPU cores of a task."""
    gpus: int = Field(0, ge=0, le=64)
    """GPUs of a task."""


class Slurm(Remote):
    """A job array of a Slurm cluster."""

    name: ClassVar[str] = "slurm"

    partition: str | None = Field(None, min_length=1)
    account: str | None = Field(None, min_length=1)
    minutes: int = Field(24 * 60, ge=1)
    """Time limit of a task; a task that reaches it is put into the queue again and goes on from its checkpoint."""
    memory: int | None = Field(None, ge=1)
    """GiB of a task; None: the partition's own."""
    cluster: Literal["slurm", "local"] = "slurm"
    """``local``: tasks are processes of this machine, to try a command out where there is no Slurm."""


class Ray(Remote):
    """Tasks of a Ray cluster."""

    name: ClassVar[str] = "ray"

    address: str | None = Field(None, min_length=1)
    """Of the cluster, ``auto`` for the one this machine belongs to; None: one on this machine, for this run alone."""


def remote_of(text: str) -> Slurm | Ray | None:
    """What an executor's text asks for; None where it names neither ``slurm`` nor ``ray``.

    >>> remote_of("slurm[tasks=8,partition=gpu]").partition
    'gpu'

    Raises:
        UserError: an option that there is none of, or a value that is none of its values.
    """
    if text.partition("[")[0] not in ("slurm", "ray"):
        return None
    found = _FORM.fullmatch(text)
    if found is None:
        raise UserError(f"--executor: '{text}' is cut off; use slurm[tasks=8,partition=gpu] or ray[tasks=8]")
    kind: type[Slurm] | type[Ray] = Slurm if found[1] == "slurm" else Ray
    values: dict[str, Any] = {}
    for part in filter(None, (piece.strip() for piece in (found[2] or "").split(","))):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals:
            raise UserError(f"--executor: '{part}' is no option=value")
        if key in values:
            raise UserError(f"--executor: {key} is given twice")
        values[key] = value
    try:
        return kind(**values)
    except ValidationError as error:
        first = error.errors()[0]
        key = first["loc"][0]
        if first["type"] == "extra_forbidden":
            raise UserError(
                f"--executor: {found[1]} has no option '{key}'; known: {', '.join(kind.model_fields)}"
            ) from None
        raise UserError(f"--executor: {key}={values[str(key)]}: {first['msg'].lower()}") from None
