"""Timing rounds under a clock of one's own: who runs when, on what, and what is read."""

import gc

import numpy as np
import pytest
import torch

from eebench.engine.model import Decision
from eebench.timing.blame import ContenderError
from eebench.timing.clocks import Stopwatch
from eebench.timing.rounds import Contender, Rounds, time_rounds
from tests.timing.fake import FakeClocks

CPU = torch.device("cpu")


@pytest.fixture
def clocks():
    return FakeClocks()


def constant(value):
    return lambda call: value


def once(contenders, clocks, rounds=1, **more):
    return time_rounds(contenders, device=CPU, rounds=Rounds(rounds, rounds), clocks=clocks, **more)


def rounds_of(diary, contenders, rounds, batches):
    """Names in the order they ran, a list a round, every turn (its first batch untimed) folded into one entry."""
    assert [batch for _, batch, _ in diary] == [0, *range(batches)] * rounds * contenders
    names = [name for name, _, _ in diary[:: batches + 1]]
    assert len(names) == rounds * contenders
    return [names[i : i + contenders] for i in range(0, len(names), contenders)]


@pytest.mark.parametrize("rounds", [2, 5, 7])
def test_everybody_is_timed_in_every_round_and_the_order_turns(clocks, rounds):
    contenders = [clocks.contender(name, constant(1)) for name in "abcd"]
    once(contenders, clocks, rounds, warm_up=0)
    order = rounds_of(clocks.diary, 4, rounds, 3)
    assert all(sorted(each) == list("abcd") for each in order)
    assert order[0] == list("abcd")
    assert len({each[0] for each in order}) > 1, "nobody may always be the first"
    assert not all(each.index("a") < each.index("b") for each in order)


def test_turns_are_short_so_that_a_slow_second_falls_on_everybody(clocks):
    lengths = {"a": 20, "b": 20, "c": 5}
    contenders = [clocks.contender(name, constant(1), batches=n) for name, n in lengths.items()]
    found = once(contenders, clocks, 2, warm_up=0)
    assert [timing.wall_ms.shape[1] for timing in found] == [20, 20, 5]
    diary = [(name, batch) for name, batch, _ in clocks.diary]
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


def test_warm_up_comes_first_and_is_not_timed(clocks):
    def slow_at_first(call):
        return 100 if call < 5 else 1  # the fifth begins the first turn

    contenders = [clocks.contender(name, slow_at_first, batches=3) for name in "ab"]
    found = once(contenders, clocks, 2, warm_up=4)
    assert [(name, batch) for name, batch, _ in clocks.diary[:8]] == [
        (name, batch) for name in "ab" for batch in (0, 1, 2, 0)
    ]
    assert all((timing.wall_ms == 1).all() for timing in found)


def test_times_are_milliseconds_a_sample_by_round_and_batch(clocks):
    def rising(call):
        return 8 + 4 * call

    (found,) = once([clocks.contender("a", rising, batches=3, size=4)], clocks, 2, warm_up=0)
    np.testing.assert_allclose(found.wall_ms, [[3, 4, 5], [7, 8, 9]])  # calls 0 and 4 begin a turn
    np.testing.assert_allclose(found.cpu_ms, found.wall_ms)
    assert found.size == 4
    assert found.device_ms is found.syncs is found.exits is found.wait_wall_ms is None


def test_what_kept_the_work_from_the_processor_is_in_the_wall_clock_alone(clocks):
    interrupted = clocks.contender("a", constant(2), away=lambda call: 6.0 if call >= 3 else 0.0)
    (found,) = once([interrupted], clocks, warm_up=0)
    np.testing.assert_allclose(found.wall_ms, [[2, 2, 8]])
    np.testing.assert_allclose(found.cpu_ms, [[2, 2, 2]])
    np.testing.assert_array_equal(found.switches, [[[0, 0], [0, 0], [0, 1]]])
    assert found.cpu_counts
    np.testing.assert_array_equal(found.interrupted, [[False, False, True]])


def test_interrupted_work_that_fits_into_a_time_slice_is_run_again_at_once(clocks):
    costs = {3: 2.6, 4: 2.4, 5: 2.0}  # the third is interrupted, and once more; the third time nothing comes between
    contender = clocks.contender("a", lambda call: costs.get(call, 2), away=lambda call: 6.0 if call in (3, 4) else 0)
    (found,) = once([contender], clocks, warm_up=0)
    np.testing.assert_allclose(found.cpu_ms, [[2, 2, 2.6]])
    np.testing.assert_allclose(found.again_ms, [[np.nan, np.nan, 2.0]])
    np.testing.assert_allclose(found.times("cpu"), [2, 2, 2])
    assert len(clocks.diary) == 1 + 3 + 2
    long = clocks.contender("b", constant(20), batches=1, away=lambda call: 6.0)
    (found,) = once([long], clocks, warm_up=0)
    assert np.isnan(found.again_ms).all()
    assert sum(name == "b" for name, _, _ in clocks.diary) == 2


@pytest.mark.parametrize(("threads", "fine"), [(2, True), (1, False)])
def test_cpu_time_stands_in_for_the_wall_clock_only_on_one_thread_with_a_fine_clock(threads, fine):
    clocks = FakeClocks(threads, fine=fine)
    (found,) = once([clocks.contender("a", constant(1))], clocks)
    assert not found.cpu_counts


def test_rounds_in_which_others_used_the_cores_are_marked():
    clocks = FakeClocks(threads=2, others=1.0)
    (found,) = once([clocks.contender("a", constant(1))], clocks, 3)
    assert found.crowded.tolist() == [True] * 3
    assert clocks.others == [1.0] * 3


def test_contenders_keep_their_own_times_and_batches(clocks):
    contenders = [clocks.contender("a", constant(1), batches=2), clocks.contender("b", constant(3), batches=5)]
    found = once(contenders, clocks, 3, warm_up=1)
    assert [timing.wall_ms.shape for timing in found] == [(3, 2), (3, 5)]
    assert [set(timing.wall_ms.ravel()) for timing in found] == [{1}, {3}]


def test_ids_are_handed_on_with_their_inputs(clocks):
    once([clocks.contender("a", constant(1), batches=2, size=3)], clocks, warm_up=0)
    assert clocks.diary == [("a", 0, [0, 1, 2])] * 2 + [("a", 1, [3, 4, 5])]


def test_progress_counts_turns(clocks):
    told = []
    contenders = [clocks.contender(name, constant(1)) for name in "ab"]
    once(contenders, clocks, 3, warm_up=0, progress=lambda done, total: told.append((done, total)))
    assert told == [(i, 6) for i in range(1, 7)]


def test_rounds_go_on_for_whoever_is_not_settled(clocks):
    contenders = [clocks.contender(name, constant(1)) for name in "abc"]
    asked = []

    def unsettled(timings):
        asked.append([timing.rounds for timing in timings])
        return {0, 2} if len(asked) < 3 else set()

    found = time_rounds(
        contenders, device=CPU, rounds=Rounds(least=2, most=9), unsettled=unsettled, clocks=clocks, warm_up=0
    )
    assert asked == [[1, 1, 1], [2, 2, 2], [3, 2, 3]]  # first after the last but one of the least, for nothing yet
    assert [timing.rounds for timing in found] == [3, 2, 3]


def test_rounds_end_at_the_most_and_at_the_time_limit(clocks):
    contenders = [clocks.contender("a", constant(10))]
    always = {"device": CPU, "unsettled": lambda timings: {0}, "clocks": clocks, "warm_up": 0}
    (found,) = time_rounds(contenders, rounds=Rounds(2, 5, 60), **always)
    assert found.rounds == 5
    (found,) = time_rounds(contenders, rounds=Rounds(2, 50, 0.1), **always)
    assert found.rounds == 3  # a round takes 40 ms
    (found,) = time_rounds(contenders, rounds=Rounds(2, 50, 0), **always)
    assert found.rounds == 2, "everybody gets the least, however long it takes"


def test_garbage_waits_and_no_gradient_is_recorded(clocks):
    seen = []

    def run(inputs, ids):
        seen.append((gc.isenabled(), torch.is_inference_mode_enabled()))
        clocks.work(1)

    contender = Contender(("a", "cpu", "single", 1, "plain"), run, [(torch.zeros(1), torch.zeros(1))], "a")
    assert gc.isenabled()
    once([contender], clocks, warm_up=1)
    assert seen == [(False, True)] * 3
    assert gc.isenabled()


def test_garbage_is_collected_again_after_a_mishap(clocks):
    def run(inputs, ids):
        raise RuntimeError

    contender = Contender(("a", "cpu", "single", 1, "plain"), run, [(torch.zeros(1), torch.zeros(1))], "a")
    with pytest.raises(ContenderError, match="a on path plain") as caught:
        once([contender], clocks)
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert gc.isenabled()


# --- what inference says while it is timed ---------------------------------------------------------------------------


def test_live_exits_and_answers_are_kept(clocks):
    def run(inputs, ids):
        clocks.work(1)
        return Decision(torch.eye(3)[ids % 3], ids % 2, (1, 2, 3, 4))

    batches = [(torch.zeros(2, 1), torch.tensor([b, b + 1])) for b in (0, 3)]
    (found,) = once([Contender(("a", "cpu", "batch", 2, "x"), run, batches, "a")], clocks, 2)
    np.testing.assert_array_equal(found.exits, [[[0, 1], [1, 0]]] * 2)
    np.testing.assert_array_equal(found.answers, [[[0, 1], [0, 1]]] * 2)


def test_values_are_kept_as_values(clocks):
    def run(inputs, ids):
        return Decision(torch.tensor([[0.25], [-1.5]]), torch.tensor([0, 1]), (1, 2, 3, 4))

    contender = Contender(("a", "cpu", "batch", 2, "x"), run, [(torch.zeros(2, 1), torch.arange(2))], "a")
    (found,) = once([contender], clocks)
    np.testing.assert_array_equal(found.answers, [[[0.25, -1.5]]])


class Any:
    """A rule without opinions."""

    knob = None

    def step(self, state, seen, knob):
        return None, state


def test_a_request_has_its_answer_when_its_exit_is_decided(clocks):
    watch = Stopwatch(Any(), clocks)

    def run(inputs, ids):
        for _ in range(2):  # exits 0 and 1; the third is the last, which nobody decides on
            clocks.work(3, away=1)
            watch.step({}, {}, 0.5)
        clocks.work(5)
        return Decision(torch.eye(4), torch.tensor([1, 0, 2, 0]), (1, 2, 3, 4))

    contender = Contender(("a", "cpu", "batch", 4, "x"), run, [(torch.zeros(4, 1), torch.arange(4))] * 2, "a", watch)
    (found,) = once([contender], clocks, 2)
    np.testing.assert_allclose(found.wait_wall_ms, [[[8, 4, 13, 4]] * 2] * 2)
    np.testing.assert_allclose(found.wait_cpu_ms, [[[6, 3, 11, 3]] * 2] * 2)
    np.testing.assert_allclose(found.wall_ms, np.full((2, 2), 13 / 4))


def test_whoever_stops_last_has_its_answer_when_the_batch_is_done(clocks):
    watch = Stopwatch(Any(), clocks)

    def run(inputs, ids):
        for _ in range(2):
            clocks.work(3)
            watch.step({}, {}, 0.5)
        clocks.work(1)  # gathering the answers
        return Decision(torch.eye(2), torch.tensor([1, 0]), (1, 2, 3, 4))

    contender = Contender(("a", "cpu", "batch", 2, "x"), run, [(torch.zeros(2, 1), torch.arange(2))], "a", watch)
    (found,) = once([contender], clocks)
    np.testing.assert_allclose(found.wait_wall_ms, [[[7, 3]]])


def test_a_slow_minute_of_the_machine_falls_on_everybody(clocks):
    slow = {"until": 0}

    def cost(call):
        slow["until"] += 1
        return 10 if slow["until"] <= 16 else 1  # the first two rounds: two contenders, three batches and one untimed

    contenders = [clocks.contender(name, cost) for name in "ab"]
    first, second = once(contenders, clocks, 6, warm_up=0)
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
    (found,) = time_rounds([contender], device=device, rounds=Rounds(2, 2))
    assert found.syncs == 0.5  # two a batch of four
    assert found.device_ms is not None
    assert (found.device_ms > 0).all()
    assert (found.device_ms <= found.wall_ms * 1.5).all()
    assert not found.cpu_counts
