"""LGViT: local perception and global aggregation heads, trained in two stages (ACM Multimedia 2023)."""

from eebench_methods.lgvit.method import LGViT

__all__ = ["LGViT"]
