"""PCEE: stop once enough exits in a row are confident (Zhang et al., Findings of NAACL 2022)."""

from eebench_methods.pcee.pcee import PCEE, PatientConfidence, exit_weights

__all__ = ["PCEE", "PatientConfidence", "exit_weights"]
