import pytest

from eebench.report.targets import in_order, main_target, target


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("drop_1", "at most 1 point lost"),
        ("drop_0.5", "at most 0.5 points lost"),
        ("macs_50", "at most 50 % of the MACs"),
        ("ms_2.5", "at most 2.5 ms"),
        ("joules_3", "joules_3"),
    ],
)
def test_titles(name, title):
    assert target(name).title == title
    assert target(name).meaning


def test_order_and_the_target_a_report_opens_with():
    names = ["macs_25", "ms_2", "drop_2", "macs_75", "drop_0.5", "ms_10", "macs_75", "joules_3"]
    assert in_order(names) == ["drop_0.5", "drop_2", "macs_75", "macs_25", "ms_10", "ms_2", "joules_3"]
    assert main_target(names) == "drop_0.5"
    assert main_target([*names, "drop_1"]) == "drop_1"
    assert main_target(["macs_50"]) == "macs_50"
    assert main_target([]) == "drop_1"
