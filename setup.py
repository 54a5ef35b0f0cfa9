"""The packages, found: ``eebench`` as it lies, and ``methods/`` under its import name ``eebench_methods``."""

from setuptools import find_packages, setup

setup(
    packages=[
        *find_packages(include=["eebench", "eebench.*"]),
        "eebench_methods",
        *(f"eebench_methods.{name}" for name in find_packages("methods")),
    ],
    package_dir={"eebench": "eebench", "eebench_methods": "methods"},
)
