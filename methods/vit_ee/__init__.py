"""ViT-EE: whole branches as exits, a transformer block among them (Multi-Exit Vision Transformer, BMVC 2021)."""

from eebench_methods.vit_ee.method import ViTEE

__all__ = ["ViTEE"]
