"""Clocks that only move when somebody works."""

import torch

from eebench.timing.clocks import Clocks
from eebench.timing.rounds import Contender

MS = 1_000_000  # nanoseconds


class FakeClocks(Clocks):
    """Wall clock, CPU time and switches by hand, and a diary of who worked.

    ``others`` are the cores that other processes use, asked after every round.
    """

    def __init__(self, threads=1, *, fine=True, others=0.0, cores=2):
        self.threads, self._fine, self._others, self._cores = threads, fine, others, cores
        self.now = self.used = self.reads = 0
        self.counts = (0, 0)
        self.diary = []
        self.look_around()

    def wall(self):
        self.reads += 1
        return self.now

    def cpu(self):
        return self.used

    def switches(self):
        return self.counts

    def fine(self):
        return self._fine

    def look_around(self):
        self.others = []

    def crowded(self):
        self.others.append(self._others)
        return self._others + self.threads > self._cores + 0.5

    def work(self, ms, *, away=0.0):
        """Compute for a while, and be kept from the processor for some more."""
        self.now += round((ms + away) * MS)
        self.used += round(ms * MS)
        if away:
            self.counts = (self.counts[0], self.counts[1] + 1)

    def contender(self, name, cost_ms, *, batches=3, size=1, away=lambda call: 0.0):
        """Works ``cost_ms(number of the call)`` milliseconds on each of its batches."""
        held = [(torch.full((size, 1), float(b)), torch.arange(size) + size * b) for b in range(batches)]

        def run(inputs, ids):
            call = sum(entry[0] == name for entry in self.diary)
            self.diary.append((name, int(inputs[0, 0]), ids.tolist()))
            self.work(cost_ms(call), away=away(call))

        return Contender((name, "cpu", "single", size, "plain"), run, held, name)
