"""What every part of a report is made from: the record, its comparison, the answer, and how things look."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from eebench.report.answer import Answer, answer
from eebench.report.derive import compare, timed_points
from eebench.report.frames import Record
from eebench.report.looks import Look, looks
from eebench.report.ranking import Race, clock_of
from eebench.report.text import Writer, short_name

__all__ = ["COSTS", "Plot", "Scene", "Tip"]

COSTS = {
    "macs": ("gmacs", "speedup_macs", "multiply-accumulates a sample"),
    "cpu": ("cpu_mean_ms", "speedup_cpu", "CPU ms a sample, batch 1"),
    "gpu": ("gpu_mean_ms", "speedup_gpu", "GPU ms a sample, batch 1"),
}
"""What score is set against: its column, its speed-up, its name."""


@dataclass(frozen=True)
class Tip:
    """What a pointer near a point of a plot reads, in data coordinates."""

    axes: Axes
    x: float
    y: float
    text: str


@dataclass(frozen=True)
class Plot:
    """A figure, and what can be read at its points."""

    figure: Figure
    tips: list[Tip] = field(default_factory=list)

    def places(self) -> list[tuple[float, float, str]]:
        """Points in the SVG's own coordinates, of those that lie inside their axes."""
        scale, height = 72 / self.figure.dpi, 72 * self.figure.get_figheight()
        found = []
        for tip in self.tips:
            x, y = tip.axes.transData.transform((tip.x, tip.y))
            box = tip.axes.get_window_extent()
            if box.x0 - 1 <= x <= box.x1 + 1 and box.y0 - 1 <= y <= box.y1 + 1:
                found.append((round(x * scale, 1), round(height - y * scale, 1), tip.text))
        return found


@dataclass(frozen=True)
class Scene:
    """One run as the report sees it."""

    record: Record

    @cached_property
    def write(self) -> Writer:
        """Number formats."""
        return Writer(self.record)

    @cached_property
    def seeds(self) -> pd.DataFrame:
        """Operating points with their timings, a row a seed."""
        return timed_points(self.record)

    @cached_property
    def table(self) -> pd.DataFrame:
        """The comparison over seeds."""
        return compare(self.record)

    @cached_property
    def clock(self) -> str:
        """What speed is read from."""
        return clock_of(self.table)

    @cached_property
    def main(self) -> str:
        """The target that the report opens with."""
        return self.record.main

    @cached_property
    def answer(self) -> Answer:
        """The answer at that target."""
        return answer(self.race(self.main), self.write)

    @cached_property
    def series(self) -> dict[str, Look]:
        """Looks by method."""
        return looks(self.record.methods, self.record.labels)

    @property
    def title(self) -> str:
        """Model and data, without folders."""
        run = self.record.run
        title = f"Early exit on {short_name(run['backbone']['name'])}, {short_name(run['data']['name'])}"
        return f"{title} (unfinished)" if self.record.unfinished else title

    def race(self, target: str) -> Race:
        """The comparison at one target."""
        return Race.at(self.record, self.table, self.seeds, target)

    def points(self, kind: str, method: str) -> pd.DataFrame:
        """Comparison rows of one method and kind, all targets."""
        return self.table[(self.table["kind"] == kind) & (self.table["method"] == method)]

    def cost(self, name: str, value: float) -> str:
        """A cost with its unit."""
        return f"{self.write.macs(value)} {self.write.macs_unit}" if name == "macs" else f"{self.write.ms(value)} ms"
