"""Leases on names in a shared folder, without a server: who is at what, and what becomes of it when the owner dies."""

from eebench.leases.leases import InUseError, Lease, LeaseLostError, Leases
from eebench.leases.owner import Clock, Owner

__all__ = ["Clock", "InUseError", "Lease", "LeaseLostError", "Leases", "Owner"]
