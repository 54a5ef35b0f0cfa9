"""Batches by length: nothing lost, nothing padded far, what a training step draws untouched."""

import numpy as np
import pytest
import torch

from eebench.data.base import Split, batches, steps
from eebench.data.lengths import EVALUATED, TRAINED, by_length


def lengths_of(n, seed=0, longest=512):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(5, 60, n)
    lengths[rng.integers(0, n, n // 20)] = longest
    return lengths


def text_split(lengths):
    return Split([torch.full((int(n),), i + 1) for i, n in enumerate(lengths)], np.arange(len(lengths)))


def pad(raw):
    ids = torch.nn.utils.rnn.pad_sequence(list(raw), batch_first=True)
    return {"input_ids": ids}


@pytest.mark.parametrize(("most", "tokens"), [(32, 4096), (7, 10_000), (1000, 600), (1, 4096), (32, 100)])
def test_parts_hold_everything_once_within_both_limits(most, tokens):
    lengths = lengths_of(400)
    parts = by_length(lengths, most, tokens)
    assert sorted(np.concatenate(parts).tolist()) == list(range(400))
    for part in parts:
        assert len(part) <= most
        assert len(part) == 1 or len(part) * lengths[part].max() <= tokens
    assert (np.diff(lengths[np.concatenate(parts)]) >= 0).all()


def test_parts_by_hand():
    parts = by_length(np.array([9, 2, 5, 2, 30, 4]), 3, 20)
    assert [part.tolist() for part in parts] == [[1, 3, 5], [2, 0], [4]]
    assert [part.tolist() for part in by_length(np.array([2, 29, 3, 28]), 9, 99)] == [[0, 2], [3, 1]]  # half at most
    assert by_length(np.zeros(0, np.int64), 3, 20) == []


def test_evaluation_goes_by_length_and_says_which_sample_is_which():
    lengths = lengths_of(300)
    split = text_split(lengths)
    seen = list(batches(split, pad, 64, lengths=lengths))
    assert sorted(torch.cat([batch.ids for batch in seen]).tolist()) == list(range(300))
    for batch in seen:
        assert batch.inputs["input_ids"].numel() <= EVALUATED
        assert torch.equal(batch.inputs["input_ids"][:, 0] - 1, batch.ids)
        assert torch.equal(batch.targets, batch.ids)
    held = sum(batch.inputs["input_ids"].numel() for batch in seen)
    plain = sum(batch.inputs["input_ids"].numel() for batch in batches(split, pad, 64))
    assert held < 1.1 * lengths.sum()
    assert plain > 3 * lengths.sum()  # a long text in every batch


@pytest.mark.parametrize("epoch", [0, 3])
def test_a_step_draws_the_same_samples_with_and_without_parts(epoch):
    lengths = lengths_of(200)
    split = text_split(lengths)
    whole = list(steps(split, pad, 32, seed=5, epoch=epoch))
    parts = list(steps(split, pad, 32, seed=5, epoch=epoch, lengths=lengths))
    again = list(steps(split, pad, 32, seed=5, epoch=epoch, lengths=lengths))
    assert [len(step) for step in whole] == [1] * 7
    assert max(len(step) for step in parts) > 1
    for one, many, same in zip(whole, parts, again, strict=True):
        assert set(one[0].ids.tolist()) == set(torch.cat([part.ids for part in many]).tolist())
        assert [part.ids.tolist() for part in many] == [part.ids.tolist() for part in same]
        assert all(part.inputs["input_ids"].numel() <= TRAINED for part in many)
        if len(many) == 1:
            assert torch.equal(many[0].ids, one[0].ids)
    others = [step[0].ids.tolist() for step in steps(split, pad, 32, seed=5, epoch=epoch + 1)]
    assert others != [step[0].ids.tolist() for step in whole]


def test_a_last_sample_alone_joins_the_step_before():
    split = text_split(np.full(33, 4))
    assert [len(step[0].ids) for step in steps(split, pad, 16, seed=0)] == [16, 17]
