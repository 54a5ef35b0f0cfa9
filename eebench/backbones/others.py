"""Backbones that installed packages (entry-point group ``eebench.backbones``) and ``--plugin`` files bring."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from eebench import discovery
from eebench.errors import UserError

if TYPE_CHECKING:
    from eebench.api import Backbone

__all__ = ["GROUP", "brought", "find", "make"]

GROUP = "eebench.backbones"
NAME = re.compile(r"[A-Za-z][\w.-]*")


def brought(plugins: Sequence[discovery.Plugin], taken: Sequence[str]) -> dict[str, discovery.Entry | type[Backbone]]:
    """Every such backbone by name: an entry point, not imported yet, or a plugin file's class.

    Args:
        plugins: files or classes, which may bring methods or data sets alone.
        taken: names that eebench's own backbones have.

    Raises:
        UserError: a name twice or one that cannot be typed, or a plugin file that cannot be imported.
    """
    found: dict[str, discovery.Entry | type[Backbone]] = {}
    origins = dict.fromkeys(taken, "eebench")

    def claim(name: str, origin: str) -> None:
        if not NAME.fullmatch(name):
            raise UserError(
                f"'{name}' ({origin}) is no name for a backbone: it needs a letter first, then letters, digits"
            )
        if name in origins:
            raise UserError(f"two backbones are called '{name}': one from {origins[name]}, one from {origin}")
        origins[name] = origin

    for entry in discovery.installed(GROUP):
        claim(entry.name, entry.origin)
        found[entry.name] = entry
    for plugin in plugins:
        for cls in discovery.brought_by(plugin)[GROUP]:
            name = vars(cls).get("name", "")
            if isinstance(name, str) and name:  # an adapter that others derive from has none
                claim(name, discovery.origin_of(plugin))
                found[name] = cls
    return found


def find(name: str, plugins: Sequence[discovery.Plugin], taken: Sequence[str]) -> type[Backbone] | None:
    """The class of a backbone that a package or a file brings; None where none of them has that name.

    Raises:
        UserError: it cannot be imported, or is no Backbone.
    """
    from eebench.api import Backbone

    source = brought(plugins, taken).get(name)
    if source is None:
        return None
    cls = source.load("backbone") if isinstance(source, discovery.Entry) else source
    if not (isinstance(cls, type) and issubclass(cls, Backbone)):
        raise UserError(f"backbone '{name}': {cls!r} is no subclass of eebench.api.Backbone")
    return cls


def make(
    name: str, cls: type[Backbone], *, outputs: int, image_size: int | None, patch_size: int | None, channels: int
) -> Backbone:
    """A fresh network of a stranger's class.

    Raises:
        UserError: it raises, whatever it raises, or makes something else.
    """
    from eebench.api import Backbone

    try:
        backbone = cls.create(outputs=outputs, image_size=image_size, patch_size=patch_size, channels=channels)
    except UserError:
        raise
    except Exception as error:  # a stranger's constructor may raise anything
        sizes = {"image_size": image_size, "patch_size": patch_size, "channels": channels}
        given = ", ".join(f"{key} {value}" for key, value in sizes.items() if value is not None)
        reason = f"{type(error).__name__}: {discovery.one_line(error)}"
        raise UserError(f"backbone '{name}' cannot be built with {given}: {reason}") from error
    if not isinstance(backbone, Backbone):
        raise UserError(f"backbone '{name}': create() made {type(backbone).__name__}, not an eebench.api.Backbone")
    return backbone
