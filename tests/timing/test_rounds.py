"""Timing rounds under a clock of one's own: who runs when, on what, and what becomes of the times."""

import gc
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from eebench.schema import TABLES
from eebench.timing import rounds as latency
from eebench.timing.rounds import Contender, Timing, time_rounds

CPU = torch.device("cpu")
MS = 1_000_000  # nanoseconds


class Clock:
    """A clock that only moves when somebody works, and a diary of who did."""

    def __init__(self):
        self.now = 0
        self.reads = 0
        self.diary = []

    def perf_counter_ns(self):
        self.reads += 1
        return self.now

    def contender(self, name, cost_ms, *, batches=3, size=1):
        """Works ``cost_ms(round-or-call number, batch)`` milliseconds on each of its batches."""
        held = [(torch.full((size, 1), float(b)), torch.arange(size) + size * b) for b in range(batches)]

        def run(inputs, ids):
            call = sum(entry[0] == name for entry in self.diary)
            self.diary.append((name, int(inputs[0, 0]), ids.tolist()))
            self.now += int(cost_ms(call) * MS)

        return Contender((name, "cpu", "single", size, "plain"), run, held, name)


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(latency, "time", SimpleNamespace(perf_counter_ns=made.perf_counter_ns))
    return made


def constant(value):
    return lambda call: value


def rounds_of(diary, contenders, rounds, batches):
    """Names in the order they ran, a list a round, every turn (its first batch untimed) folded into one entry."""
    assert [batch for _, batch, _ in diary] == [0, *range(batches)] * rounds * contenders
    names = [name for name, _, _ in diary[:: batches + 1]]
    assert len(names) == rounds * contenders
    return [names[i : i + contenders] for i in range(0, len(names), contenders)]


@pytest.mark.parametrize("rounds", [2, 5, 7])
def test_everybody_is_timed_in_every_round_and_the_order_turns(clock, rounds):
    contenders = [clock.contender(name, constant(1)) for name in "abcd"]
    time_rounds(contenders, device=CPU, rounds=rounds, warm_up=0)
    order = rounds_of(clock.diary, 4, rounds, 3)
    assert all(sorted(each) == list("abcd") for each in order)
    assert order[0] == list("abcd")
    assert len({tuple(each) for each in order}) > 1
    assert len({each[0] for each in order}) > 1, "nobody may always be the first"
    assert not all(each.index("a") < each.index("b") for each in order)


def test_turns_are_short_so_that_a_slow_second_falls_on_everybody(clock):
    lengths = {"a": 20, "b": 20, "c": 5}
    contenders = [clock.contender(name, constant(1), batches=n) for name, n in lengths.items()]
    found = time_rounds(contenders, device=CPU, rounds=2, warm_up=0)
    assert [timing.wall_ms.shape[1] for timing in found] == [20, 20, 5]
    diary = [(name, batch) for name, batch, _ in clock.diary]
    for _ in range(2):  # in every round everybody's batches once, block by block, each turn begun with one untimed
        for block, names in ((range(8), "abc"), (range(8, 16), "ab"), (range(16, 20), "ab")):
            left = set(names)
            while left:
                name = diary[0][0]
                left.remove(name)
                own = [b for b in block if b < lengths[name]]
                turn = [own[0], *own]
                assert diary[: len(turn)] == [(name, b) for b in turn]
                del diary[: len(turn)]
    assert not diary


def test_warm_up_comes_first_and_is_not_timed(clock):
    def slow_at_first(call):
        return 100 if call < 5 else 1  # the fifth begins the first turn

    contenders = [clock.contender(name, slow_at_first, batches=3) for name in "ab"]
    found = time_rounds(contenders, device=CPU, rounds=2, warm_up=4)
    assert [(name, batch) for name, batch, _ in clock.diary[:8]] == [
        (name, batch) for name in "ab" for batch in (0, 1, 2, 0)
    ]
    assert clock.reads == 2 * 2 * 3 * 2  # two a timed batch
    assert all((timing.wall_ms == 1).all() for timing in found)


def test_times_are_milliseconds_a_sample_by_round_and_batch(clock):
    def rising(call):
        return 8 + 4 * call

    found = time_rounds([clock.contender("a", rising, batches=3, size=4)], device=CPU, rounds=2, warm_up=0)
    np.testing.assert_allclose(found[0].wall_ms, [[3, 4, 5], [7, 8, 9]])  # calls 0 and 4 begin a turn
    assert found[0].device_ms is None
    assert found[0].syncs is None


def test_contenders_keep_their_own_times_and_batches(clock):
    contenders = [clock.contender("a", constant(1), batches=2), clock.contender("b", constant(3), batches=5)]
    found = time_rounds(contenders, device=CPU, rounds=3, warm_up=1)
    assert [timing.wall_ms.shape for timing in found] == [(3, 2), (3, 5)]
    assert [set(timing.wall_ms.ravel()) for timing in found] == [{1}, {3}]


def test_ids_are_handed_on_with_their_inputs(clock):
    time_rounds([clock.contender("a", constant(1), batches=2, size=3)], device=CPU, rounds=1, warm_up=0)
    assert clock.diary == [("a", 0, [0, 1, 2])] * 2 + [("a", 1, [3, 4, 5])]


def test_progress_counts_turns(clock):
    told = []
    contenders = [clock.contender(name, constant(1)) for name in "ab"]
    time_rounds(contenders, device=CPU, rounds=3, warm_up=0, progress=lambda done, total: told.append((done, total)))
    assert told == [(i, 6) for i in range(1, 7)]


def test_garbage_waits_and_no_gradient_is_recorded(clock):
    seen = []

    def run(inputs, ids):
        seen.append((gc.isenabled(), torch.is_inference_mode_enabled()))
        clock.now += MS

    contender = Contender(("a", "cpu", "single", 1, "plain"), run, [(torch.zeros(1), torch.zeros(1))], "a")
    assert gc.isenabled()
    time_rounds([contender], device=CPU, rounds=1, warm_up=1)
    assert seen == [(False, True)] * 3
    assert gc.isenabled()


def test_garbage_is_collected_again_after_a_mishap():
    def run(inputs, ids):
        raise RuntimeError

    contender = Contender(("a", "cpu", "single", 1, "plain"), run, [(torch.zeros(1), torch.zeros(1))], "a")
    with pytest.raises(RuntimeError):
        time_rounds([contender], device=CPU)
    assert gc.isenabled()


# --- summary ---------------------------------------------------------------------------------------------------------


def test_summary_has_the_columns_of_the_table():
    rng = np.random.default_rng(0)
    times = rng.gamma(5.0, size=(5, 200))
    found = Timing(times, None, None).summary()
    assert found.keys() <= TABLES["latency"].keys()
    for percent in (50, 90, 95, 99):
        assert found[f"p{percent}_ms"] == pytest.approx(np.quantile(times, percent / 100))
    assert found["iqr_ms"] == pytest.approx(np.subtract(*np.quantile(times, (0.75, 0.25))))
    assert found["mean_ms"] == pytest.approx(sum(sorted(column)[2] for column in times.T) / 200)
    assert found["n"] == 1000
    assert found["device_ms"] is found["syncs"] is None


def test_an_interruption_does_not_move_the_mean():
    times = np.ones((5, 40))
    times[1, 3:9] = 50.0  # somebody else's work
    found = Timing(times, times.copy(), None).summary()
    assert found["mean_ms"] == found["device_ms"] == 1
    assert found["p99_ms"] == 50


def test_summary_of_device_times():
    found = Timing(np.ones((2, 3)), np.full((2, 3), 0.25), 1.5).summary()
    assert (found["device_ms"], found["syncs"]) == (0.25, 1.5)


@pytest.mark.parametrize(
    ("means", "noisy"),
    [
        ([1.0, 1.0, 1.0, 1.0, 1.0], False),
        ([1.0, 1.01, 1.02, 0.99, 1.0], False),
        ([1.0, 1.0, 1.0, 1.0, 5.0], False),  # one slow round does not move the middle half
        ([1.0, 1.0, 1.2, 1.2, 1.2], True),
        ([1.0], True),  # one round says nothing about the next
    ],
)
def test_noise_is_between_rounds(means, noisy):
    within = np.array([0.2, 1.0, 1.8])  # samples may differ as they like
    assert Timing(np.outer(means, within), None, None).summary()["noisy"] is noisy


def test_a_slow_minute_of_the_machine_falls_on_everybody(clock):
    slow = {"until": 0}

    def cost(call):
        slow["until"] += 1
        return 10 if slow["until"] <= 16 else 1  # the first two rounds: two contenders, three batches and one untimed

    contenders = [clock.contender(name, cost) for name in "ab"]
    first, second = time_rounds(contenders, device=CPU, rounds=6, warm_up=0)
    np.testing.assert_array_equal(first.wall_ms.mean(1), [10, 10, 1, 1, 1, 1])
    np.testing.assert_array_equal(second.wall_ms.mean(1), [10, 10, 1, 1, 1, 1])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
def test_device_times_and_synchronisations_on_a_gpu():
    device = torch.device("cuda")
    batches = [(torch.randn(4, 512, 512, device=device), torch.arange(4, device=device)) for _ in range(3)]

    def run(inputs, ids):
        product = inputs @ inputs
        product.sum().item()
        return product.mean().item()

    contender = Contender(("a", "cuda", "batch", 4, "plain"), run, batches, "a")
    (found,) = time_rounds([contender], device=device, rounds=2)
    assert found.syncs == 0.5  # two a batch of four
    assert found.device_ms is not None
    assert (found.device_ms > 0).all()
    assert (found.device_ms <= found.wall_ms * 1.5).all()
