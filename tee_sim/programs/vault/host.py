"""Make a secret, guess its PIN, and get it."""

import hashlib

from tee_sim.platform import Platform


def main(platform: Platform) -> None:
    """Two wrong PINs, the right one, then too many wrong ones."""
    vault = platform.create_enclave("vault")
    digest = vault.make_secret("2468")
    print("a secret was made inside; all that came out is its SHA-256")
    for pin in ("0000", "1234", "2468"):
        answer = vault.release(pin)
        matches = hashlib.sha256(answer.secret).digest() == digest
        said = "released" if answer.result == 1 else "wrong"
        print(f"PIN {pin}: {said}, {vault.tries_left()} tries left; matches the digest: {matches}")
    for pin in ("0", "1", "2"):
        vault.release(pin)
    print(f"after three wrong ones in a row, the right PIN gives {vault.release('2468').result}")
