"""A method as asked for: what a person types, ``pabee[patience=3]``, parsed and checked, and the method made of it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args, get_origin, get_type_hints

from eebench.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from eebench.api import ExitRule, Method, Task

__all__ = ["Chosen", "make_chosen", "one_line", "split_list"]


@dataclass(frozen=True)
class Chosen:
    """A method as asked for: made from its options, and the knob if the person pinned it."""

    label: str  # canonical: name, or name[key=value,…]
    method: Method
    pinned: float | None = None
    knob: str | None = None  # what the pinned knob was called
    trained: str = ""  # the label without a pinned knob: what training depends on

    def __post_init__(self) -> None:
        if not self.trained:
            object.__setattr__(self, "trained", self.label)

    @property
    def places_exits(self) -> bool:
        """Whether the method can be told behind which blocks its exits are."""
        return "blocks" in _options(type(self.method))

    def rule(self, task: Task) -> ExitRule:
        """The method's exit rule, which must have the knob that was pinned.

        Raises:
            UserError: it has another one, the value is none the knob can have, or the method cannot make its rule.
        """
        name = self.label.partition("[")[0]
        try:
            rule = self.method.rule(task)
            own = rule.knob
        except UserError:
            raise
        except Exception as error:  # a stranger's rule may raise anything
            raise UserError(f"method '{name}': its rule() raised {type(error).__name__}: {one_line(error)}") from error
        if self.knob is not None and self.knob != own.name:
            raise _no_option(name, self.knob, [*_options(type(self.method)), own.name])
        if self.pinned is not None and own.integer and self.pinned != int(self.pinned):
            raise UserError(f"method '{name}': {own.name}={self.pinned:g} is not a whole number")
        if self.pinned is not None and own.always is not None:
            low, high = sorted((own.never, own.always))
            if not low <= self.pinned <= high:
                words = f"{own.always:g} (everyone stops at the first exit) and {own.never:g} (nobody stops early)"
                raise UserError(f"method '{name}': {own.name}={self.pinned:g} is not between {words}")
        return rule


def make_chosen(text: str, cls: type[Method], blocks: Sequence[int] | None = None) -> Chosen:
    """A method from what was typed.

    Args:
        text: ``name`` or ``name[option=value,…]``; one name that is no option may be the rule's knob.
        cls: the method of that name.
        blocks: where its exits go, if it has an option ``blocks`` that was not typed.

    Raises:
        UserError: unknown option or value, an option twice, or a class that is no method.
    """
    name, bracket, rest = text.partition("[")
    name = name.strip()
    fault = _fault_of(cls)
    if fault is not None:
        raise UserError(f"method '{name}' {fault}")
    pairs = [_pair(item, text) for item in split_list(rest.removesuffix("]"))] if bracket else []
    typed = dict(pairs)
    if len(typed) < len(pairs):
        raise UserError(f"'{text}': an option is given twice")
    if blocks is not None and "blocks" in _options(cls):
        typed.setdefault("blocks", "+".join(map(str, blocks)))
    return _checked(name, cls, typed)


def split_list(text: str) -> list[str]:
    """Split at commas outside square brackets; empty items vanish."""
    items, depth, current = [], 0, ""
    for char in text:
        depth += (char == "[") - (char == "]")
        if char == "," and depth == 0:
            items.append(current)
            current = ""
        else:
            current += char
    return [item.strip() for item in [*items, current] if item.strip()]


def _pair(item: str, text: str) -> tuple[str, str]:
    key, equals, value = item.partition("=")
    if not equals:
        raise UserError(f"'{text}': option '{item}' has no value; write {item}=VALUE")
    return key.strip(), value.strip()


def _checked(name: str, cls: type[Method], typed: dict[str, str]) -> Chosen:
    options = _options(cls)
    method = _made(name, cls, {key: value for key, value in typed.items() if key in options})
    knobs = {key: _number(name, key, value, options) for key, value in typed.items() if key not in options}
    if len(knobs) > 1:
        raise _no_option(name, min(knobs), options)
    labels = [
        name + (f"[{','.join(f'{k}={typed[k]}' for k in keys)}]" if keys else "")
        for keys in (sorted(typed), sorted(typed.keys() & set(options)))
    ]
    knob, pinned = next(iter(knobs.items()), (None, None))
    return Chosen(labels[0], method, pinned, knob, trained=labels[1])


def _options(cls: type[Method]) -> list[str]:
    return [field.name for field in dataclasses.fields(cls)]


def _no_option(name: str, key: str, known: list[str]) -> UserError:
    return UserError(f"method '{name}' has no option '{key}'{did_you_mean(key, known)}")


def _number(name: str, key: str, value: str, options: list[str]) -> float:
    """What was typed for something that is no option, and so can only be the knob."""
    try:
        pinned = float(value)
    except ValueError:
        near = did_you_mean(key, options)
        known = near if near.startswith("; did you mean") else f", and as its rule's knob {value} is no number{near}"
        raise UserError(f"method '{name}' has no option '{key}'{known}") from None
    if not math.isfinite(pinned):
        raise UserError(f"method '{name}': {key}={value} is not a finite number")
    return pinned


def _made(name: str, cls: type[Method], typed: dict[str, str]) -> Method:
    """The method with its options, from what was typed."""
    from pydantic import PydanticUserError, TypeAdapter, ValidationError

    try:
        hints = get_type_hints(cls)
        adapter = TypeAdapter(cls)
    except (AttributeError, NameError, TypeError, PydanticUserError) as error:
        raise UserError(f"method '{name}': its options cannot be read: {one_line(error)}") from error
    try:
        method = adapter.validate_python({key: _raw(value, hints[key]) for key, value in typed.items()})
    except ValidationError as error:
        first = error.errors()[0]
        key = next((str(place) for place in first["loc"] if place in typed), None)
        if key is None:  # of __post_init__, or an option without a default
            raise UserError(f"method '{name}': {_whole(first)}") from None
        raise UserError(f"method '{name}': option {key}={typed[key]} is not valid: {first['msg']}") from None
    except (TypeError, ValueError) as error:
        raise UserError(f"method '{name}': {one_line(error)}") from None
    for key, value in typed.items():
        held = getattr(method, key)
        if isinstance(held, float) and not math.isfinite(held):
            raise UserError(f"method '{name}': option {key}={value} is not a finite number")
    return method


def _raw(value: str, hint: Any) -> Any:
    """What was typed as pydantic takes it: ``none``, and tuples as ``4+6+8``."""
    kinds = (hint, *get_args(hint))
    if value.lower() == "none" and type(None) in kinds:
        return None
    return value.split("+") if any(get_origin(kind) is tuple for kind in kinds) else value


def _whole(error: Any) -> str:
    """What was wrong with the options as a whole."""
    if error["type"] == "missing":
        return f"option {error['loc'][0]} has no default and must be given"
    return one_line(error.get("ctx", {}).get("error") or error["msg"])


def _fault_of(cls: type[Method]) -> str | None:
    """What makes a class no method, as far as can be seen before it is made."""
    from eebench.api import Method
    from eebench.plugins.needs import NEEDS

    options = _options(cls)
    declared = [key for key, hint in vars(cls).get("__annotations__", {}).items() if "ClassVar" not in str(hint)]
    if set(declared) - set(options):
        return f"has options, so put @dataclass(frozen=True) above class {cls.__name__}"
    hidden = [key for key in options if hasattr(Method, key)]
    if hidden:
        return f"has an option '{hidden[0]}', a name that every method uses otherwise"
    strange = sorted(set(cls.needs) - set(NEEDS))
    if strange:
        return f"needs '{strange[0]}'{did_you_mean(strange[0], NEEDS)}"
    return None


def one_line(error: BaseException) -> str:
    """An error's message on one line."""
    return " ".join(str(error).split()) or "no message"
