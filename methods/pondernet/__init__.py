"""PonderNet (Banino, Balaguer, Blundell, 2021): a halting probability at every block, trained against a prior."""

from eebench_methods.pondernet.method import PonderNet

__all__ = ["PonderNet"]
