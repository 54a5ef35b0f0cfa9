"""PCEE: stop once enough exits in a row are confident (Zhang et al., Findings of NAACL 2022)."""

from eebench_methods.pcee.pcee import PCEE, PatientConfidence, PCEEOptions, exit_weights

__all__ = ["PCEE", "PCEEOptions", "PatientConfidence", "exit_weights"]
