"""Every promise on every kind of network: as findings to print, and as tests for a stranger's own pytest."""

from __future__ import annotations

import dataclasses
import inspect
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eebench.api import Method
from eebench.errors import UserError
from eebench.plugins.chosen import Chosen
from eebench.plugins.needs import unmet
from eebench.plugins.registry import Registry
from eebench.testing.bench import KINDS, Bench, BrokenPromiseError, network
from eebench.testing.checks import CHECKS

if TYPE_CHECKING:
    import pytest

__all__ = ["Finding", "check_method", "parametrize_with_checks"]

FRAMES = 2
"""Of the author's own code that a failure shows, the innermost last."""

_LAST: list[Bench] = []


@dataclass(frozen=True)
class Finding:
    """What one check found out."""

    check: str
    backbone: str
    status: str  # holds | broken | skipped
    words: str
    where: tuple[str, ...] = ()  # lines of the author's code, as file:line in function: code


def check_method(chosen: Chosen, kinds: Sequence[str] = KINDS) -> Iterator[Finding]:
    """Run every check on every kind of network, one finding at a time."""
    for kind in kinds:
        try:
            bench = Bench.make(chosen, kind)
        except UserError as reason:
            yield Finding("needs", kind, "skipped", f"does not run here: {reason}")
            continue
        except Exception as error:  # a stranger's method may raise anything
            words = f"builds and traces: it raised {_said(error)}"
            yield Finding("builds and traces", kind, "broken", words, _frames(error, chosen.method))
            continue
        for check in CHECKS:
            yield _made(check, bench)


def parametrize_with_checks(methods: Sequence[Method | str], kinds: Sequence[str] = KINDS) -> pytest.MarkDecorator:
    """One test for each method, kind of network and promise of the contract; what a method does not need is left out.

    ::

        @parametrize_with_checks([MyMethod(), MyMethod(rate=0.5)])
        def test_contract(check):
            check()

    Args:
        methods: the methods, or what is typed on the command line for installed ones, ``pabee[last=own]``.
        kinds: of networks, some of :data:`eebench.testing.KINDS`.
    """
    import pytest

    params = []
    for method in methods:
        chosen = _chosen(method)
        for kind in kinds:
            if unmet(chosen.method, *network(chosen.method, kind)) is not None:
                continue
            for check in CHECKS:
                name = f"{chosen.label}-{kind}-{check.__name__}"
                params.append(pytest.param(partial(_run, check, chosen, kind), id=name))
    return pytest.mark.parametrize("check", params)


def _run(check: Callable[[Bench], str | None], chosen: Chosen, kind: str) -> None:
    finding = _made(check, _bench(chosen, kind))
    if finding.status == "broken":
        raise AssertionError("\n".join((finding.words, *finding.where)))


def _bench(chosen: Chosen, kind: str) -> Bench:
    """The bench, made once for the checks of one method and network, which follow each other."""
    if not _LAST or _LAST[0].chosen is not chosen or _LAST[0].kind != kind:
        _LAST[:] = [Bench.make(chosen, kind)]
    return _LAST[0]


def _chosen(method: Method | str) -> Chosen:
    """A method as the registry would have it, its options that are not the defaults in the label."""
    if isinstance(method, str):
        (chosen,) = Registry.installed().choose(method)
        return chosen
    values = [(field, getattr(method, field.name)) for field in dataclasses.fields(method)]
    asked = sorted(f"{field.name}={value}" for field, value in values if value != field.default)
    return Chosen(method.name + (f"[{','.join(asked)}]" if asked else ""), method)


def _made(check: Callable[[Bench], str | None], bench: Bench) -> Finding:
    """What one check finds out."""
    words = (check.__doc__ or check.__name__).split("\n")[0].rstrip(".")
    try:
        detail = check(bench)
    except BrokenPromiseError as broken:
        place = _place(broken.blame, bench.method)
        return Finding(check.__name__, bench.kind, "broken", f"{words}: NOT so, {broken}", (place,))
    except Exception as error:  # a stranger's method may raise anything
        where = _frames(error, bench.method)
        return Finding(check.__name__, bench.kind, "broken", f"{words}: it raised {_said(error)}", where)
    return Finding(check.__name__, bench.kind, "holds", f"{words}{': ' + detail if detail else ''}")


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _home(method: Method) -> Path:
    """The author's file, or the folder of a method that is a package."""
    file = Path(inspect.getfile(type(method))).resolve()
    module = inspect.getmodule(type(method))
    return file.parent if module is not None and module.__package__ else file


def _place(blame: Any, method: Method) -> str:
    """Where the code to blame begins; the method's class where that code is not the author's."""
    home = _home(method)
    for thing in (blame, type(method)):
        try:
            file, (_, line) = Path(inspect.getfile(thing)).resolve(), inspect.getsourcelines(thing)
        except (TypeError, OSError):  # made at run time, or nobody is to blame
            continue
        if file == home or home in file.parents:
            return f"{file.name}:{line} {thing.__qualname__}"
    return f"{home.name} {type(method).__qualname__}"


def _frames(error: BaseException, method: Method) -> tuple[str, ...]:
    """The last frames of the author's own code on the way to an exception; the very last where there is none."""
    home, every = _home(method), traceback.extract_tb(error.__traceback__)
    own = [frame for frame in every if (file := Path(frame.filename).resolve()) == home or home in file.parents]
    return tuple(f"{Path(f.filename).name}:{f.lineno} in {f.name}: {f.line}" for f in (own or every[-1:])[-FRAMES:])
