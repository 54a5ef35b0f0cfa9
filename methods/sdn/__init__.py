"""SDN: stop at the first confident internal classifier (Kaya et al., ICML 2019)."""

from eebench_methods.sdn.sdn import SDN, ConfidentExit, MostConfidentExit, keep_most_confident, ramp

__all__ = ["SDN", "ConfidentExit", "MostConfidentExit", "keep_most_confident", "ramp"]
