"""PABEE: stop once enough exits in a row agree (Zhou et al., NeurIPS 2020)."""

from eebench_methods.pabee.pabee import PABEE, Patience

__all__ = ["PABEE", "Patience"]
