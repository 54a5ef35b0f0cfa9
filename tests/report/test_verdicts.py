import numpy as np
import pandas as pd
import pytest

from eebench.report.derive import compare
from eebench.report.frames import load
from eebench.report.text import Writer, number, one_line, signed, times
from eebench.report.verdicts import knob, verdicts

METHOD = {
    "target": "drop_1", "kind": "dynamic", "method": "pabee", "label": "PABEE", "seeds": 1, "met": 1,
    "knob_name": "patience", "knob": 4.0, "knob_min": 4.0, "knob_max": 4.0, "drop": 0.006, "drop_low": 0.001,
    "drop_high": 0.011, "drop_std": np.nan, "speedup_layers": 1.9, "speedup_macs": 1.61, "speedup_cpu": 1.42,
    "speedup_cpu_low": 1.38, "speedup_cpu_high": 1.46, "speedup_cpu_std": np.nan, "speedup_gpu": np.nan,
    "speedup_gpu_low": np.nan, "speedup_gpu_high": np.nan, "speedup_gpu_std": np.nan, "unsure_drop": False,
    "over_fixed": 0.012, "over_fixed_low": 0.004, "over_fixed_high": 0.02, "over_fixed_std": np.nan,
    "unsure_over_fixed": False, "unsure_cpu": False, "unsure_gpu": False, "cpu_noisy": False, "gpu_noisy": False,
}  # fmt: skip
FIXED = METHOD | {
    "kind": "fixed", "knob_name": "block", "knob_min": 9.0, "knob_max": 9.0, "drop": 0.008, "speedup_cpu": 1.3,
    "speedup_macs": 1.33,
}  # fmt: skip
SEVERAL = {"seeds": 3, "met": 3, "drop_std": 0.002, "speedup_cpu_std": 0.03}


@pytest.fixture(scope="module")
def record(three):
    return load(three)


@pytest.fixture
def say(record):
    def first(*rows):
        return verdicts(record, pd.DataFrame(rows), Writer(record))[0]

    return first


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({}, "PABEE: 1.42× [1.38, 1.46] on CPU (1.61× fewer MACs, 1.90× by layer count) at −0.6 pt [−1.1, −0.1]"),
        (SEVERAL, "PABEE: 1.42 ± 0.03× on CPU (1.61× fewer MACs, 1.90× by layer count) at −0.6 ± 0.2 pt"),
        (
            {"unsure_drop": True, "unsure_cpu": True},
            (
                "PABEE: ~\u202f1.42× [1.38, 1.46] on CPU (1.61× fewer MACs, 1.90× by layer count)"
                " at ~\u202f−0.6 pt [−1.1, −0.1]"
            ),
        ),
        (
            {"speedup_cpu": 0.9, "speedup_cpu_low": 0.88, "speedup_cpu_high": 0.92, "speedup_macs": 0.95},
            (
                "PABEE: 0.90× [0.88, 0.92] on CPU (slower than the plain backbone) (1.05× the MACs, 1.90× by layer"
                " count) at −0.6 pt [−1.1, −0.1]"
            ),
        ),
        (
            {"speedup_cpu": np.nan},
            "PABEE: 1.61× fewer MACs, 1.90× by layer count, not timed, at −0.6 pt [−1.1, −0.1]",
        ),
        (
            {"speedup_gpu": 1.1, "speedup_gpu_low": 1.0, "speedup_gpu_high": 1.2},
            (
                "PABEE: 1.42× [1.38, 1.46] on CPU, 1.10× [1.00, 1.20] on GPU (1.61× fewer MACs, 1.90× by layer count)"
                " at −0.6 pt [−1.1, −0.1]"
            ),
        ),
        (
            {"met": 0},
            (
                "PABEE: no knob value met the target on validation data; the nearest one: 1.42× [1.38, 1.46] on CPU"
                " (1.61× fewer MACs, 1.90× by layer count) at −0.6 pt [−1.1, −0.1]"
            ),
        ),
    ],
)
def test_the_line(say, changes, line):
    assert say(METHOD | changes).line == line


@pytest.mark.parametrize(
    ("method", "fixed", "remark"),
    [
        ({}, {}, "1.30× on CPU (1.33× by MACs) at −0.8 pt; deciding per sample gains on both."),
        ({"drop": 0.009}, {}, "1.30× on CPU (1.33× by MACs) at −0.8 pt."),
        (
            {},
            {"speedup_cpu": 1.5, "drop": 0.001},
            "1.50× on CPU (1.33× by MACs) at −0.1 pt, at least as fast and as good without deciding anything.",
        ),
        (
            {"speedup_cpu": np.nan},
            {"speedup_cpu": np.nan},
            "1.33× by MACs at −0.8 pt; deciding per sample gains on both.",
        ),
    ],
)
def test_fixed_depth_is_always_named(say, method, fixed, remark):
    found = say(METHOD | method, FIXED | fixed)
    assert f"Everyone stopping at block 9 of the same model: {remark}" in found.remarks


@pytest.mark.parametrize(
    ("changes", "remark"),
    [
        (SEVERAL | {"met": 2}, "Validation data met the target in 2 of 3 seeds only."),
        (
            {"drop": 0.03, "drop_low": 0.02, "drop_high": 0.04},
            "On validation data at most 1 point was lost; on test data it is more.",
        ),
        (
            {"drop": 0.012, "drop_low": 0.002, "drop_high": 0.022},
            (
                "On validation data at most 1 point was lost; on test data it is more, though 1 point is within its"
                " interval."
            ),
        ),
        ({}, "Over a fixed depth of the same model at the same MACs: +1.2 pt [+0.4, +2.0]."),
        (
            {"over_fixed": -0.001, "unsure_over_fixed": True, "over_fixed_low": -0.01},
            "Over a fixed depth of the same model at the same MACs: ~\u202f−0.1 pt [−1.0, +2.0].",
        ),
        (
            SEVERAL | {"over_fixed_std": 0.004},
            "Over a fixed depth of the same model at the same MACs: +1.2 ± 0.4 pt.",
        ),
        ({"cpu_noisy": True}, "The timing behind it was noisy."),
    ],
)
def test_what_a_reader_must_know_is_said(say, changes, remark):
    assert remark in say(METHOD | changes).remarks


def test_exactly_one_point_is_within_the_target(say):
    assert not any("on test data" in remark for remark in say(METHOD | {"drop": 0.9 - 0.89}).remarks)


def test_order_and_methods_without_result(record):
    rows = [
        METHOD | {"met": 0, "speedup_cpu": 9.0},
        METHOD | {"method": "palbert", "label": "PALBERT"},
        METHOD | {"method": "lgvit[blocks=4+8]", "label": "LGViT", "speedup_cpu": 2.0},
    ]
    found = verdicts(record, pd.DataFrame(rows), Writer(record))
    assert [verdict.label for verdict in found] == ["LGViT", "PALBERT", "PABEE", "text_only"]
    assert found[-1].line == "text_only: skipped, no result: needs a text backbone"
    assert [verdict.met for verdict in found] == [True, True, False, False]


def test_a_whole_run_has_a_verdict_a_method(record):
    found = verdicts(record, compare(record), Writer(record))
    assert {verdict.method for verdict in found} == {*record.methods, "text_only"}


def test_knob_ranges():
    assert knob(pd.Series({"knob_min": 0.5, "knob_max": 0.5})) == "0.5"
    assert knob(pd.Series({"knob_min": 0.5, "knob_max": 0.75})) == "0.5 to 0.75"
    assert knob(pd.Series({"knob_min": np.nan, "knob_max": np.nan})) == "–"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (number(1.005, 1), "1.0"),
        (number(-2.5, 1), "−2.5"),
        (number(np.nan), "–"),
        (signed(0.25, 1), "+0.2"),
        (signed(-0.61, 1), "−0.6"),
        (signed(-0.04, 1), "0.0"),
        (signed(np.inf), "–"),
        (times(1.416), "1.42×"),
        (one_line(None), "–"),
        (one_line({"add": 3, "gelu": [1, True]}), "add 3, gelu 1, yes"),
        (one_line("two\n lines"), "two lines"),
    ],
)
def test_numbers_as_text(text, expected):
    assert text == expected


def test_digits_follow_the_run(record):
    write = Writer(record)
    assert write.gmacs(0.0123456) == "0.01235"
    assert write.score(0.98765) == "98.8"
    assert write.change(0.006) == "−0.6"
    assert write.unit == "%"
    record.run["data"]["n_test"] = 50_000
    assert Writer(record).score(0.98765) == "98.77"
    record.run["data"]["n_test"] = 400
