"""``eebench new``: the start of a method, complete enough to pass ``eebench check`` before a line is changed."""

from __future__ import annotations

import keyword
import os
from pathlib import Path

from eebench.errors import UserError
from eebench.plugins.registry import NAME, RESERVED, Registry

__all__ = ["write_method"]

CODE = '''"""{title}: replace this with one sentence on what the method does."""

from dataclasses import dataclass

from torch import nn

from eebench.api import ExitHead, Method, Phase, inner_blocks
from eebench.parts import joint_loss
from eebench.rules import Confidence


class Head(ExitHead):
    """What one exit computes from the features behind its block."""

    def __init__(self, dim: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.LayerNorm(dim), nn.Dropout(dropout), nn.Linear(dim, outputs))

    def answer(self, features):
        return self.layers(features.pooled)


@dataclass(frozen=True)
class {cls}(Method):
    """{title}.

    Attributes:
        dropout: before the classifier. Every field can be set on the command line: {name}[dropout=0.1].
    """

    name = "{name}"
    needs = {{"classes"}}  # else left out; see eebench.api.Need

    dropout: float = 0.0

    def build(self, backbone, task):
        blocks = inner_blocks(backbone.depth)
        return {{block: Head(backbone.layouts[block - 1].dim, task.outputs, self.dropout) for block in blocks}}

    def rule(self, task):
        return Confidence()

    def phases(self, task):
        return [Phase("joint", lambda step: joint_loss(step, [1.0] * len(step.visits)))]

    # released(self, state, backbone) would take over published weights, for --weights {name}:FILE --budget none
'''

CARD = """---
title: {title}
summary: One sentence on what the method does.
paper: Authors, Title, venue and year
link: arXiv number or DOI
modalities: [vision, text]
claims: []
---

# {title}

## What it is

Three sentences: what an exit computes, how it is trained, who stops.

## Equations

## Exits

## Hyper-parameters

| | standard | paper |
|---|---|---|
| dropout | 0 | |

## Paper, released code, eebench

| topic | paper | released code | eebench, and why |
|---|---|---|---|

## Published numbers

## BibTeX

```bibtex
@misc{{{name}, title = {{...}}}}
```
"""

TEST = '''"""The plugin contract, promise by promise: pytest, in this folder."""

from {package} import {cls}

from eebench.testing import parametrize_with_checks


@parametrize_with_checks([{cls}(), {cls}(dropout=0.1)])
def test_contract(check):
    check()
'''

PROJECT = """[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "eebench-{dashed}"
version = "0.1.0"
dependencies = ["eebench"]

[project.entry-points."eebench.methods"]
{name} = "{package}:{cls}"

[tool.setuptools]
packages = ["{package}"]

[tool.setuptools.package-data]
"*" = ["*.md"]
"""


def write_method(name: str, folder: Path, *, one_file: bool) -> list[str]:
    """Write a new method and say what to do next.

    Args:
        name: its name, a lower-case identifier.
        folder: where; made if need be.
        one_file: a single plugin file ``<name>.py``, else an installable distribution with a card.

    Raises:
        UserError: a bad name, or something of that name is there already.
    """
    if not name.isidentifier() or keyword.iskeyword(name) or name != name.lower():
        raise UserError(f"'{name}' is no method name; use a lower-case Python identifier such as my_method")
    if name in RESERVED or name in Registry.installed().sources:
        raise UserError(f"there is a method called '{name}' already; choose another name")
    if not NAME.fullmatch(name):
        raise UserError(f"'{name}' is no method name; begin it with a letter")
    words = {
        "name": name,
        "cls": "".join(part.capitalize() for part in name.split("_")) or name,
        "title": name.replace("_", " ").strip(),
        "dashed": name.strip("_").replace("_", "-"),
        "package": f"eebench_{name}",
    }
    target = folder / (f"{name}.py" if one_file else f"eebench-{words['dashed']}")
    if os.path.exists(target):
        raise UserError(f"{target} is there already")
    try:
        if one_file:
            folder.mkdir(parents=True, exist_ok=True)
            target.write_text(CODE.format(**words), encoding="utf-8")
            return [f"wrote {target}", f"next: eebench check --plugin {target}"]
        package = target / words["package"]
        package.mkdir(parents=True)
        (package / "__init__.py").write_text(CODE.format(**words), encoding="utf-8")
        (package / "README.md").write_text(CARD.format(**words), encoding="utf-8")
        (target / "pyproject.toml").write_text(PROJECT.format(**words), encoding="utf-8")
        (target / "test_contract.py").write_text(TEST.format(**words), encoding="utf-8")
    except OSError as error:
        raise UserError(f"{target} cannot be written: {error.strerror}") from None
    return [
        f"wrote {target}: __init__.py and README.md in {words['package']}/, pyproject.toml, test_contract.py",
        f"next: pip install -e {target} && eebench check {name}",
    ]
