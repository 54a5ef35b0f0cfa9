"""Targets are named by pattern; what is no target is one line."""

import pytest

from eebench.errors import UserError
from eebench.targets import Target


@pytest.mark.parametrize(
    ("name", "kind", "value"),
    [("drop_1", "drop", 1), ("drop_0.5", "drop", 0.5), ("macs_50", "macs", 50), ("ms_2.5", "ms", 2.5)],
)
def test_a_target_is_its_name(name, kind, value):
    target = Target.parse(name)
    assert (target.kind, target.value, target.name) == (kind, value, name)
    assert f"{value:g}" in target.meaning
    assert f"{value:g}" in target.short


def test_names_are_canonical():
    assert Target.parse("drop_1.0").name == "drop_1"


@pytest.mark.parametrize(
    "name", ["", "drop", "drop_", "drop_-1", "macs_0", "drop_100", "acc_1", "drop_1pt", "ms_1e999", "ms_nan"]
)
def test_what_is_no_target_is_one_line(name):
    with pytest.raises(UserError, match="--targets"):
        Target.parse(name)
