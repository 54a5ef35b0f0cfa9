import numpy as np
import pandas as pd
import pytest

from eebench.report.frames import load
from eebench.report.text import (
    Writer,
    knob,
    listed,
    number,
    one_line,
    processor,
    short_name,
    signed,
    times,
)  # fmt: skip


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
        (processor("Intel(R) Xeon(R) Processor @ 2.10GHz"), "Intel Xeon"),
        (processor("AMD EPYC 7763 64-Core Processor"), "AMD EPYC 7763 64-Core"),
        (processor("NVIDIA H100 80GB HBM3"), "NVIDIA H100 80GB HBM3"),
        (processor(None), ""),
        (short_name("csv:data/trec6"), "trec6"),
        (short_name("/a/b/minilm-l6/"), "minilm-l6"),
        (short_name("vit_micro"), "vit_micro"),
        (short_name("glue/sst2"), "sst2"),
        (listed([]), ""),
        (listed(["A"]), "A"),
        (listed(["A", "B", "C"]), "A, B and C"),
        (listed(list("ABCDEFG")), "A, B, C, D and 3 others"),
    ],
)
def test_as_text(text, expected):
    assert text == expected


def test_digits_and_units_follow_the_run(three):
    record = load(three)
    write = Writer(record)
    assert (write.macs_unit, write.macs(0.0123456)) == ("MMACs", "12.35")
    assert write.score(0.98765) == "98.8"
    assert write.change(0.006) == "−0.6"
    assert write.unit == "%"
    record.run["data"]["n_test"] = 50_000
    record.run["backbone"]["gmacs"] = 17.58
    write = Writer(record)
    assert (write.macs_unit, write.macs(12.3456)) == ("GMACs", "12.35")
    assert write.score(0.98765) == "98.77"
