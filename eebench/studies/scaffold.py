"""``eebench new study``: a commented study file, and the schema that editors complete and check it by."""

from __future__ import annotations

from pathlib import Path

from eebench.errors import UserError
from eebench.files import write_json
from eebench.studies.file import json_schema

__all__ = ["SCHEMA", "TEMPLATE", "write_new_study"]

SCHEMA = "study.schema.json"
TEMPLATE = """#:schema ./study.schema.json
# A study: runs that belong together. Every setting is an option of 'eebench run' by its name there, '-' written '_'.
#
#   eebench run study.toml --dry-run            cells, what is done already, time, disk and memory
#   eebench run study.toml                      run it; the same again goes on where it was stopped
#   eebench run study.toml --only 'backbone=vit_ti,method=lgvit'
#   eebench compare study                       all of it on one page

study = 1                                       # version of this format
# name = "study"                                # of the study's folder; the file's own name when not given
# extends = "base.toml"                         # another study file that this one adds to
# plugins = ["margin.py"]                       # your own methods, backbones and data sets

[defaults]                                      # settings of every run
methods = ["pabee", "berxit", "lgvit"]          # with options: "pabee[patience=3]"; "all" for all there are
seeds = [0, 1, 2]
budget = "quick"                                # smoke, quick, standard or paper
# latency_batch_sizes = [1, 8]
# latency_samples = 200

[matrix]                                        # a run for every combination
backbone = ["vit_micro", "vit_ti"]
dataset = ["mnist5k", "digits"]

[backbones.vit_ti]                              # settings of every run with this backbone
# weights = "timm"

[datasets.mnist5k]                              # settings of every run on this data set
# data_dir = "data/mnist"                       # from where eebench is started
# limit = 2000

[sweep.lgvit]                                   # options of a method: one more method for every combination
blocks = [[3, 6, 9], [4, 8]]

[[exclude]]                                     # of the matrix: whole runs, or a method or a seed of some of them
backbone = "vit_ti"
method = "berxit"

# [[include]]                                   # one more run beside the matrix
# backbone = "resnet18"
# dataset = "digits"
"""


def write_new_study(folder: Path) -> list[str]:
    """Write ``study.toml`` and its schema; returns lines that say what to do next.

    Args:
        folder: where; made if need be.

    Raises:
        UserError: a file of that name is there already, or the folder cannot be written to.
    """
    path, schema = folder / "study.toml", folder / SCHEMA
    for file in (path, schema):
        if file.exists():
            raise UserError(f"{file} is there already")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(TEMPLATE, encoding="utf-8")
        write_json(schema, json_schema())
    except OSError as error:
        raise UserError(f"{folder} cannot be written to: {error.strerror}") from None
    return [f"wrote {path} and {schema}", f"see what it would do: eebench run {path} --dry-run"]
