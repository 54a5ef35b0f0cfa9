"""Real weights that tests may use where they lie: ``EEBENCH_REAL_DATA`` names the folder."""

import os
from pathlib import Path

import pytest


def real(name: str) -> Path:
    """The file or folder of that name; skips the test where there is none."""
    root = os.environ.get("EEBENCH_REAL_DATA")
    if not root or not Path(root, name).exists():
        pytest.skip(f"EEBENCH_REAL_DATA names no folder with {name}")
    return Path(root, name)
