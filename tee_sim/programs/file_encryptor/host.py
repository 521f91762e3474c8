"""Encrypt a text under a password, change it on the disk, and try to decrypt it."""

from tee_sim.errors import EcallFailed
from tee_sim.platform import DeployedEnclave, Platform

CHUNK, TAG = 64, 16
TEXT = b"Dear diary, nothing leaves this file without its password. " * 4


def encrypt(enclave: DeployedEnclave, password: str, content: bytes) -> tuple[bytes, list[bytes]]:
    """The salt and the encrypted chunks of a file."""
    salt = enclave.begin_encryption(password)
    pieces = [content[at : at + CHUNK] for at in range(0, len(content), CHUNK)] or [b""]
    last = len(pieces) - 1
    return salt, [
        enclave.encrypt_chunk(piece, len(piece), number == last, len(piece) + TAG)
        for number, piece in enumerate(pieces)
    ]


def decrypt(enclave: DeployedEnclave, password: str, salt: bytes, chunks: list[bytes]) -> bytes:
    """The content of a file.

    Raises:
        EcallFailed: another password, or the file was changed.
    """
    enclave.begin_decryption(password, salt)
    last = len(chunks) - 1
    return b"".join(
        enclave.decrypt_chunk(chunk, len(chunk), number == last, len(chunk) - TAG)
        for number, chunk in enumerate(chunks)
    )


def main(platform: Platform) -> None:
    """Encrypt, decrypt, and try what a host could do to the file."""
    enclave = platform.create_enclave("file_encryptor")
    salt, chunks = encrypt(enclave, "open sesame", TEXT)
    print(f"{len(TEXT)} bytes became {len(chunks)} chunks, {sum(map(len, chunks))} bytes")
    same = decrypt(enclave, "open sesame", salt, chunks) == TEXT
    print(f"decrypted with the password, the text is the same: {same}")
    changed = chunks[0][:-1] + bytes([chunks[0][-1] ^ 1])
    tries = {
        "another password": ("open barley", chunks),
        "a changed byte": ("open sesame", [changed, *chunks[1:]]),
        "two chunks exchanged": ("open sesame", [chunks[1], chunks[0], *chunks[2:]]),
        "the last chunk cut off": ("open sesame", chunks[:-1]),
    }
    for what, (password, kept) in tries.items():
        try:
            decrypt(enclave, password, salt, kept)
            print(f"{what}: decrypted")
        except EcallFailed as error:
            print(f"{what}: refused, {error.result}")
