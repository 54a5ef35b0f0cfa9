"""How long a run may take, from a few timed steps: where whole ones take too long, from smaller ones."""

from types import SimpleNamespace

import pytest

from eebench.plugins.registry import Registry
from eebench.runs import estimate as module
from eebench.runs.prepare import prepare
from eebench.runs.spec import make_spec


@pytest.fixture
def clock(monkeypatch):
    """Time that passes in training steps alone: a part of each, and a part of every sample."""
    now = SimpleNamespace(seconds=0.0, fixed=0.0, each=0.0, sizes=[])
    monkeypatch.setattr(module.time, "perf_counter", lambda: now.seconds)
    work = module.accumulate

    def accumulate(parts, *rest):
        now.sizes.append(sum(len(part.targets) for part in parts))
        now.seconds += now.fixed + now.each * now.sizes[-1]
        return work(parts, *rest)

    monkeypatch.setattr(module, "accumulate", accumulate)
    return now


@pytest.fixture(scope="module")
def prepared():
    return prepare(make_spec(methods=("pabee",), dataset="digits", budget="smoke", device="cpu"), Registry.installed())


@pytest.mark.parametrize(
    ("fixed", "each", "sizes"),
    [
        (0.1, 0.001, [2, 2, 2, 8, 8, 8, *4 * ["whole"]]),  # whole steps are soon done
        (1.0, 0.5, [2, 2, 2, 8, 8, 8]),  # minutes of them are not waited for
    ],
)
def test_a_whole_step_is_timed_or_told_from_small_ones(clock, prepared, fixed, each, sizes):
    clock.fixed, clock.each = fixed, each
    whole = min(prepared.common_recipe(64).batch_size, len(prepared.data.train))
    found = module._seconds_a_batch(prepared, prepared.backbone())
    assert clock.sizes == [whole if size == "whole" else size for size in sizes]
    assert found == pytest.approx(fixed + each * whole)
