"""tee_sim: a laboratory for Trusted Execution Environments.

from tee_sim import Platform, attacks

host = Platform("sgx-tme")
vault = host.create_enclave("vault")
digest = vault.make_secret("1234")
outcome = attacks.read_private_page(host, vault, digest)
"""

from tee_sim import attacks
from tee_sim.attacks import Outcome
from tee_sim.platform import TEES, Platform

__version__ = "0.1.0"

__all__ = ["TEES", "Outcome", "Platform", "__version__", "attacks"]
