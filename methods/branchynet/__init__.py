"""BranchyNet: stop when an exit's entropy is low (Teerapittayanon et al., ICPR 2016)."""

from eebench_methods.branchynet.branchynet import BlockExit, BranchyNet, MlpExit, branch_weights

__all__ = ["BlockExit", "BranchyNet", "MlpExit", "branch_weights"]
