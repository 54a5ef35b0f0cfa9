"""PALBERT (Balagansky and Gavrilov, NeurIPS 2022): PonderNet with a deeper halting layer and a deterministic exit."""

from eebench_methods.palbert.method import PALBERT

__all__ = ["PALBERT"]
