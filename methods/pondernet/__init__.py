"""PonderNet (Banino, Balaguer, Blundell, 2021): a halting probability at every block, trained against a prior."""

from eebench_methods.pondernet.method import PonderNet, PonderNetOptions

__all__ = ["PonderNet", "PonderNetOptions"]
