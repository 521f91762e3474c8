"""Where the machine's randomness comes from: fuses, memory keys, RDRAND.

With a seed, every stream is a deterministic function of (seed, purpose), so that notebooks have
stable outputs and two runs can be compared. With ``seed=None`` it is the operating system's.
"""

from __future__ import annotations

import hashlib
import os
from functools import cache
from importlib.resources import files

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from tee_sim.errors import UsageError


class Entropy:
    """A source of random bytes, one independent stream per purpose.

    Args:
        seed: any integer for reproducible runs, or None for real entropy.

    Simplified: a real processor's RDRAND is an AES-CTR-DRBG reseeded from a physical source; here
    it is SHAKE-256 over (seed, purpose, counter).
    """

    def __init__(self, seed: int | None) -> None:
        self.seed = seed
        self._counters: dict[str, int] = {}

    def take(self, size: int, purpose: str) -> bytes:
        """The next ``size`` bytes of the stream named ``purpose``."""
        if self.seed is None:
            return os.urandom(size)
        count = self._counters.get(purpose, 0)
        self._counters[purpose] = count + 1
        return hashlib.shake_256(f"{self.seed}|{purpose}|{count}".encode()).digest(size)


@cache
def published_key(name: str) -> RSAPrivateKey:
    """A key that is part of this package, where one from a seed is wanted: RSA has none."""
    key = load_pem_private_key(files("tee_sim.programs").joinpath(name).read_bytes(), None)
    if not isinstance(key, RSAPrivateKey):
        raise UsageError(f"{name} holds no RSA key")
    return key
