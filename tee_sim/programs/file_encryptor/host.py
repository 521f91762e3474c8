"""Encrypt a text under a password, change it on the disk, and try to decrypt it."""

from tee_sim.errors import EcallFailed
from tee_sim.platform import DeployedEnclave, Platform

CHUNK, TAG = 64, 16
TEXT = b"Dear diary, nothing leaves this file without its password. " * 4


def encrypt(enclave: DeployedEnclave, password: str, content: bytes) -> tuple[bytes, list[bytes]]:
    """The salt and the encrypted chunks of a file."""
    salt, chunks = enclave.begin_encryption(password), []
    for at in range(0, len(content) or 1, CHUNK):
        piece, last = content[at : at + CHUNK], at + CHUNK >= len(content)
        chunks.append(enclave.encrypt_chunk(piece, len(piece), last, len(piece) + TAG))
    return salt, chunks


def decrypt(enclave: DeployedEnclave, password: str, salt: bytes, chunks: list[bytes]) -> bytes:
    """The content of a file; EcallFailed if it was changed, or the password is another."""
    enclave.begin_decryption(password, salt)
    content = b""
    for left, chunk in zip(range(len(chunks) - 1, -1, -1), chunks, strict=True):
        content += enclave.decrypt_chunk(chunk, len(chunk), left == 0, len(chunk) - TAG)
    return content


def main(platform: Platform) -> None:
    """Encrypt, decrypt, and try what a host could do to the file."""
    enclave = platform.create_enclave("file_encryptor")
    salt, chunks = encrypt(enclave, "open sesame", TEXT)
    print(f"{len(TEXT)} bytes became {len(chunks)} chunks, {sum(map(len, chunks))} bytes")
    changed = chunks[0][:-1] + bytes([chunks[0][-1] ^ 1])
    tries = {
        "the file as it was": ("open sesame", chunks),
        "another password": ("open barley", chunks),
        "a changed byte": ("open sesame", [changed, *chunks[1:]]),
        "two chunks exchanged": ("open sesame", [chunks[1], chunks[0], *chunks[2:]]),
        "the last chunk cut off": ("open sesame", chunks[:-1]),
    }
    for what, (password, kept) in tries.items():
        try:
            print(f"{what}: the same text: {decrypt(enclave, password, salt, kept) == TEXT}")
        except EcallFailed as error:
            print(f"{what}: refused, {error.result}")
