"""How LGViT was trained by its authors."""

from eebench_methods.reruns import lgvit_reruns

__all__ = ["PAPERS"]

PAPERS = lgvit_reruns("end to end", "self-distillation", second_hand=None)
