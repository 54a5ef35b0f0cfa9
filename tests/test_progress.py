import io

import pytest
from rich.console import Console
from rich.progress import Progress

from eebench.progress import Remaining, Reporter


@pytest.mark.parametrize(
    ("done", "total", "seconds", "text"),
    [
        (0, 10, 50, ""),
        (1, 10, 50, "ETA 7:30"),
        (9, 10, 4500, "ETA 8:20"),
        (1, 10, 1000, "ETA 2:30:00"),
        (10, 10, 1000, "ETA 0:00"),
        (3, None, 1000, ""),
    ],
)
def test_what_is_left_at_the_pace_so_far(done, total, seconds, text):
    clock = [0.0]
    bars = Progress(Remaining(), get_time=lambda: clock[0], console=Console(file=io.StringIO()))
    task = bars.add_task("run", total=total)
    clock[0] = float(seconds)  # minutes pass without a step: rich's own column would know nothing
    bars.update(task, completed=done)
    assert Remaining().render(bars.tasks[0]).plain == text


def test_a_runs_bar_knows_after_the_first_step():
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    reporter = Reporter(console)
    with reporter.run(4):
        reporter.step_done()
        reporter._bars.refresh()
    said = console.file.getvalue()
    assert "ETA 0:" in said
    assert "--:--" not in said
