"""The TPM: PCRs only grow, quotes are a TPM's own bytes, and a boot is measured whole."""

import hashlib
import struct

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from hypothesis import given
from hypothesis import strategies as st

from tee_sim.abi import boot_log
from tee_sim.abi.tpm import qualified_name, read_quote, read_signature
from tee_sim.errors import UsageError
from tee_sim.machine.entropy import Entropy
from tee_sim.machine.measured_boot import Component, idks, measured_boot, sign_statement
from tee_sim.machine.tpm import TPM

BOOT = [Component(name, 1, name.encode()) for name in ("firmware", "manager", "hvix64.exe")]


@pytest.fixture(scope="module")
def tpm() -> TPM:
    return TPM(Entropy(0))


def test_a_quote_is_over_the_chosen_pcrs_in_ascending_order() -> None:
    tpm = TPM(Entropy(0))
    tpm.extend(16, b"x" * 32)
    quote = read_quote(tpm.quote(b"", [23, 17, 16, 0])[0])
    values = bytes(32), hashlib.sha256(bytes(32) + b"x" * 32).digest(), b"\xff" * 32, bytes(32)
    assert quote.pcrs == (0, 16, 17, 23)
    assert quote.pcr_digest == hashlib.sha256(b"".join(values)).digest()


def test_a_quote_has_the_bytes_of_the_specification(tpm: TPM) -> None:
    data, signature = tpm.quote(b"nonce", [0, 9, 23])
    assert data[:6] == bytes.fromhex("ff5443478018")
    assert data[6:42] == b"\0\x22" + qualified_name(tpm.ek, tpm.ak)
    assert data[42:49] == b"\0\5nonce"
    assert data[74:84] == bytes.fromhex("00000001000b03010280")
    assert data[84:86] == b"\0\x20"
    assert len(data) == 118
    assert signature[:6] == bytes.fromhex("0018000b0020")


@given(nonce=st.binary(max_size=64), pcrs=st.sets(st.integers(0, 23)))
def test_the_attestation_key_signs_every_quote(tpm: TPM, nonce: bytes, pcrs: set[int]) -> None:
    data, signature = tpm.quote(nonce, pcrs)
    key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x04" + tpm.ak)
    raw = read_signature(signature)
    numbers = (int.from_bytes(half, "big") for half in (raw[:32], raw[32:]))
    key.verify(encode_dss_signature(*numbers), data, ec.ECDSA(hashes.SHA256()))
    quote = read_quote(data)
    assert (quote.nonce, quote.pcrs) == (nonce, tuple(sorted(pcrs)))


def test_the_same_seed_makes_the_same_tpm_and_another_seed_another() -> None:
    first, second = TPM(Entropy(7)), TPM(Entropy(7))
    assert first.quote(b"n", [0]) == second.quote(b"n", [0])
    assert len({first.ek, first.ak, TPM(Entropy(8)).ek, TPM(Entropy(None)).ek}) == 4


@pytest.mark.parametrize(
    "misuse",
    [
        lambda tpm: tpm.extend(24, bytes(32)),
        lambda tpm: tpm.extend(-1, bytes(32)),
        lambda tpm: tpm.extend(0, bytes(20)),
        lambda tpm: tpm.quote("text", [0]),
        lambda tpm: tpm.quote(bytes(65), [0]),
        lambda tpm: tpm.quote("nonce", [0]),
        lambda tpm: tpm.quote(b"", [24]),
        lambda tpm: measured_boot(tpm, BOOT[:1], idks(0).public_key()),
        lambda tpm: measured_boot(tpm, [*BOOT, BOOT[0]._replace(svn=-1)], idks(0).public_key()),
        lambda tpm: measured_boot(
            tpm, BOOT, idks(0).public_key(), settings={boot_log.Tag.FILEPATH: b""}
        ),
    ],
)
def test_misuse_is_refused_and_changes_nothing(tpm: TPM, misuse) -> None:
    before = read_quote(tpm.quote(b"", range(24))[0])
    with pytest.raises(UsageError):
        misuse(tpm)
    after = read_quote(tpm.quote(b"", range(24))[0])
    assert (after.pcr_digest, after.reset_count) == (before.pcr_digest, before.reset_count)


def test_a_boot_replays_to_the_pcrs_and_counts() -> None:
    tpm = TPM(Entropy(0))
    for count in (1, 2):
        log = measured_boot(tpm, BOOT, idks(0).public_key())
        quote = read_quote(tpm.quote(b"", boot_log.SEQUENCES)[0])
        assert quote.pcr_digest == boot_log.replay(boot_log.read_log(log), quote.pcrs)
        assert quote.reset_count == count


def test_a_log_says_what_was_booted() -> None:
    log = measured_boot(TPM(Entropy(0)), BOOT, idks(0).public_key(), secure_boot=False)
    boot = boot_log.read_boot(boot_log.read_log(log))
    digests = [hashlib.sha256(component.image).digest() for component in BOOT]
    assert list(boot.measurements) == ["firmware", "boot manager", "hvix64.exe"]
    assert list(boot.measurements.values()) == digests
    assert (boot.svns, boot.settings) == ({"hvix64.exe": 1}, boot_log.SETTINGS)
    assert not boot.secure_boot
    numbers = idks(0).public_key().public_numbers()
    assert boot.idks == (numbers.e, numbers.n)


def test_a_log_has_the_bytes_of_the_specification() -> None:
    log = measured_boot(TPM(Entropy(0)), BOOT, idks(0).public_key())
    assert struct.unpack_from("<II20sI16s", log) == (0, 3, bytes(20), 33, b"Spec ID Event03\0")
    assert log[48:65] == bytes.fromhex("00000000 00 02 00 02 01000000 0b00 2000 00")
    digest = hashlib.sha256(b"firmware").digest()
    first = struct.unpack_from("<IIIH32sI", log, 65)
    assert first == (0, 0x80000008, 1, 0xB, digest, 16)


def test_reports_are_signed_reproducibly_with_a_seed_and_by_a_new_key_without() -> None:
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), 0)
    signature = sign_statement(idks(0), b"statement")
    idks(1).public_key().verify(signature, b"statement", pss, hashes.SHA256())
    assert sign_statement(idks(0), b"statement") == signature
    assert idks(None).public_key() != idks(0).public_key()
