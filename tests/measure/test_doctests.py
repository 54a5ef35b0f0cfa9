"""The examples in the docstrings are run, so what they show is what the code does."""

import doctest
import pkgutil
from importlib import import_module

import pytest

import eebench.measure

MODULES = sorted(module.name for module in pkgutil.iter_modules(eebench.measure.__path__))


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    assert doctest.testmod(import_module(f"eebench.measure.{name}")).failed == 0
