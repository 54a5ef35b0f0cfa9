"""BranchyNet: stop when an exit's entropy is low (Teerapittayanon et al., ICPR 2016)."""

from eebench_methods.branchynet.branchynet import BlockExit, BranchyNet, BranchyNetOptions, MlpExit, branch_weights

__all__ = ["BlockExit", "BranchyNet", "BranchyNetOptions", "MlpExit", "branch_weights"]
