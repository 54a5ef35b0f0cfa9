"""BERxiT: alternating fine-tuning and learning to exit (Xin et al., EACL 2021)."""

from eebench_methods.berxit.berxit import BERxiT, LearningToExit, uncertainty_targets

__all__ = ["BERxiT", "LearningToExit", "uncertainty_targets"]
