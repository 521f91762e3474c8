"""tee_sim: a laboratory for Trusted Execution Environments.

from tee_sim import Platform, attacks

host = Platform("sgx-tme")
vault = host.create_enclave("vault")
digest = vault.make_secret("1234")
outcome = attacks.read_private_page(host, vault, digest)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tee_sim import attacks
    from tee_sim.attacks import Outcome
    from tee_sim.platform import Platform
    from tee_sim.tees import TEES

__version__ = "0.1.0"

__all__ = ["TEES", "Outcome", "Platform", "__version__", "attacks"]

_HOMES = {"TEES": "tee_sim.platform", "Platform": "tee_sim.platform", "Outcome": "tee_sim.attacks"}


def __getattr__(name: str) -> Any:
    """Import the CPU engine and all that rests on it when the first of these names is used."""
    if name == "attacks":
        return import_module("tee_sim.attacks")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'tee_sim' has no attribute '{name}'")
