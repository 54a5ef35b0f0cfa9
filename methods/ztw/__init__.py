"""Zero Time Waste (Wołczyk et al., NeurIPS 2021): exits that reuse the answers of the exits before them."""

from eebench_methods.ztw.method import ZTW

__all__ = ["ZTW"]
