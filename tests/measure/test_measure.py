"""The package's front door: every name is there, and asking for one loads nothing heavy."""

import importlib
import subprocess
import sys

import pytest

import eebench.measure as measure


def test_every_export_is_public_where_it_lives():
    for module, names in measure._EXPORTS.items():
        lent = set(names.split())
        home = importlib.import_module(f"eebench.measure.{module}")
        assert lent <= set(home.__all__), module
        for name in lent:
            assert getattr(measure, name) is getattr(home, name)


def test_no_export_hides_a_module():
    assert not set(measure.__all__) & set(measure._EXPORTS)
    assert set(measure.__all__) <= set(dir(measure))


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="no attribute 'eec'"):
        _ = measure.eec
    with pytest.raises(ImportError, match="eec"):
        exec("from eebench.measure import eec")


def test_reports_start_fast():
    """The array measures need neither torch nor pandas, and scipy and scikit-learn only once used."""
    modules = "anytime bounds budget calibration choice compare conformal frontier liveness nested quality ranking risk"
    program = (
        "import sys, importlib\n"
        "import eebench.measure\n"
        "assert 'numpy' not in sys.modules\n"
        f"for name in '{modules} statistics'.split(): importlib.import_module('eebench.measure.' + name)\n"
        "from eebench.measure import ece, risk_control\n"
        "print(sorted({'torch', 'pandas', 'scipy', 'sklearn', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
