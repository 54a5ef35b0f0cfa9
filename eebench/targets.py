"""What an operating point is chosen for: at most so many points lost, so much of the MACs, so many milliseconds."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

from eebench.errors import UserError

__all__ = ["DROPS", "SHARES", "Target"]

DROPS = (0.5, 1.0, 2.0, 5.0, 10.0)
"""Points of score that a default target may allow; the smallest the validation samples can certify is taken."""

SHARES = ("macs_75", "macs_50", "macs_25")
"""Default targets that ask for compute."""

_PATTERN = re.compile(r"(drop|macs|ms)_(\d+(?:\.\d+)?)")


@dataclass(frozen=True, slots=True)
class Target:
    """One target, named as in the tables.

    Attributes:
        kind: ``drop``, points of score that may be lost against the plain backbone; ``macs``, per cent of its MACs;
            ``ms``, milliseconds a sample at batch 1.
        value: how many; ``drop_1`` allows 1 point, that is 0.01 of accuracy.
    """

    kind: Literal["drop", "macs", "ms"]
    value: float

    @classmethod
    def parse(cls, name: str) -> Target:
        """The target of that name.

        Raises:
            UserError: no such target.
        """
        match = _PATTERN.fullmatch(name)
        if match is None or not math.isfinite(float(match[2])):
            raise UserError(f"--targets: '{name}' is no target; write drop_1 (points), macs_50 (per cent) or ms_2.5")
        kind, value = match[1], float(f"{float(match[2]):g}")  # as its name will have it
        if value > 0 and not 1e-4 <= value < 1e6:
            raise UserError(f"--targets: '{name}' lies beyond what a name can say, 0.0001 to 999999")
        if value <= 0 or (kind == "drop" and value >= 100):
            raise UserError(f"--targets: '{name}' leaves nothing to choose; its number must lie above 0")
        return cls(kind, value)  # type: ignore[arg-type]

    @property
    def name(self) -> str:
        """As it stands in the tables."""
        return f"{self.kind}_{self.value:g}"

    @property
    def meaning(self) -> str:
        """What is chosen for it, in a sentence."""
        if self.kind == "drop":
            points = "1 point" if self.value == 1 else f"{self.value:g} points"
            return f"the largest MAC speed-up at no more than {points} of score lost against the plain backbone"
        if self.kind == "macs":
            return f"the best validation score at no more than {self.value:g} % of the plain backbone's MACs"
        return f"the best validation score at no more than {self.value:g} ms a sample at batch 1 on the CPU"

    @property
    def short(self) -> str:
        """The same in a few words."""
        if self.kind == "drop":
            return f"at most {self.value:g} point{'' if self.value == 1 else 's'} lost"
        return f"at most {self.value:g} % of the MACs" if self.kind == "macs" else f"at most {self.value:g} ms"
