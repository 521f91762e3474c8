"""Sealing and reports in C, on the simulated processor: who opens what, and who is believed."""

from __future__ import annotations

import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from tee_sim import Platform
from tee_sim.abi.image import Identity
from tee_sim.abi.sgx import KEYREQUEST, TARGETINFO, KeyName, KeyPolicy, ReportBody
from tee_sim.attacks.proofs_keys import another_version
from tee_sim.errors import BuildError, EcallFailed
from tee_sim.monitors.sgx import keys
from tee_sim.monitors.sgx.processor import cpusvn
from tee_sim.platform import DeployedEnclave, load_program
from tee_sim.sdk.image import Program
from tee_sim.sdk.signing import signature
from tee_sim.sdk.sources import find
from tee_sim.units import MIB

KEEPER = Path(__file__).parent.parent / "programs" / "keeper"
UNIQUE, PRODUCT = 1, 2
HEAD = 84


def server(tee: str = "sgx-tme", **how: Any) -> Platform:
    return Platform(tee, memory=64 * MIB, epc=8 * MIB, **how)


@cache
def keeper(
    isvsvn: int = 5,
    isvprodid: int = 3,
    debug: bool = False,
    other: bool = False,
    attacker: bool = False,
    **how: Any,
) -> DeployedEnclave:
    """The test program as an enclave of its own server: same seed, same processor."""
    host = server(**how)
    program: Program | Path = load_program(KEEPER, host.tee.target)
    if other:
        program = another_version(program)
    if attacker:
        host.host.on_launch.append(lambda launch: signed_by_host(host, launch))
    return host.create_enclave(program, debug=debug, identity=Identity(isvprodid, isvsvn))


def signed_by_host(host: Platform, launch: Any) -> Any:
    sigstruct = signature(host.measurement(launch.image), attacker=True, identity=launch.identity)
    return replace(launch, sigstruct=sigstruct)


def seal(data: bytes, policy: int = UNIQUE, more: bytes = b"", **by: Any) -> bytes:
    made = keeper(**by).seal(data, len(data), more, len(more), policy, len(data) + HEAD)
    assert int.from_bytes(made.size, "little") == len(data) + HEAD
    return bytes(made.blob)


def unseal(blob: bytes, more: bytes = b"", **by: Any) -> bytes:
    made = keeper(**by).unseal(blob, len(blob), more, len(more), len(blob))
    return bytes(made.data[: int.from_bytes(made.size, "little")])


def refusal(blob: bytes, more: bytes = b"", **by: Any) -> str:
    """How unsealing fails."""
    with pytest.raises(EcallFailed) as error:
        unseal(blob, more, **by)
    return error.value.result


@given(st.binary(max_size=300), st.binary(max_size=40), st.sampled_from([UNIQUE, PRODUCT]))
@settings(max_examples=25)
def test_what_was_sealed_can_be_unsealed(data: bytes, more: bytes, policy: int) -> None:
    blob = seal(data, policy, more)
    assert unseal(blob, more) == data
    assert len(data) < 4 or data not in blob


def test_a_page_and_more_can_be_sealed() -> None:
    data = bytes(range(256)) * 20
    assert unseal(seal(data)) == data


def test_two_blobs_never_have_the_same_key_or_bytes() -> None:
    one, other = seal(b"the same"), seal(b"the same")
    assert one[24:68] != other[24:68]
    assert one[HEAD:] != other[HEAD:]


@pytest.mark.parametrize("policy", [UNIQUE, PRODUCT])
def test_another_implementation_opens_the_blob_with_the_processors_key(policy: int) -> None:
    blob, more = seal(b"attack at dawn", policy, b"more"), b"more"
    sgx = keeper().guest.driver._sgx  # type: ignore[attr-defined]
    enclave = keeper().guest.enclave  # type: ignore[attr-defined]
    request = KEYREQUEST(
        keyname=KeyName.SEAL,
        keypolicy=KeyPolicy.of(policy),
        isvsvn=5,
        cpusvn=cpusvn(1),
        keyid=blob[24:56],
    )
    key = keys.derive(sgx, keys.dependencies(sgx, enclave, request))
    sealed = blob[HEAD:] + blob[68:HEAD]
    assert AESGCM(key).decrypt(blob[56:68], sealed, blob[:68] + more) == b"attack at dawn"


# The flipped bit may also say "newer version", or "another policy".
TAMPERED = {"OE_CRYPTO_ERROR", "OE_INVALID_CPUSVN", "OE_INVALID_ISVSVN"}


def test_a_blob_with_any_byte_changed_stays_sealed() -> None:
    blob = seal(b"secret!!", PRODUCT)
    for at in range(len(blob)):
        for bit in (1, 0x80):
            changed = blob[:at] + bytes((blob[at] ^ bit,)) + blob[at + 1 :]
            assert refusal(changed) in TAMPERED


@pytest.mark.parametrize(
    ("blob", "code"),
    [
        (b"", "OE_INVALID_PARAMETER"),
        (bytes(HEAD - 1), "OE_INVALID_PARAMETER"),
        (bytes(HEAD), "OE_CRYPTO_ERROR"),
        (bytes(HEAD + 8), "OE_CRYPTO_ERROR"),
        (b"\x03" + bytes(HEAD), "OE_CRYPTO_ERROR"),
        (b"\xff" * 200, "OE_CRYPTO_ERROR"),
    ],
)
def test_what_is_no_blob_is_refused(blob: bytes, code: str) -> None:
    assert refusal(blob) == code


def test_a_truncated_or_extended_blob_stays_sealed() -> None:
    blob = seal(b"secret!!")
    assert refusal(blob[:-1]) == refusal(blob + b"\0") == "OE_CRYPTO_ERROR"


@pytest.mark.parametrize("more", [b"", b"mo", b"More", b"more\0"])
def test_other_additional_data_does_not_open_it(more: bytes) -> None:
    assert refusal(seal(b"x", more=b"more"), more) == "OE_CRYPTO_ERROR"


# Who opens it: for each policy, another enclave, and whether it succeeds.
OPENERS: list[tuple[dict[str, Any], str, str]] = [
    ({}, "OE_OK", "OE_OK"),
    ({"other": True}, "OE_CRYPTO_ERROR", "OE_OK"),
    ({"attacker": True}, "OE_OK", "OE_CRYPTO_ERROR"),
    ({"isvprodid": 4}, "OE_CRYPTO_ERROR", "OE_CRYPTO_ERROR"),
    ({"isvsvn": 6}, "OE_OK", "OE_OK"),
    ({"isvsvn": 4}, "OE_INVALID_ISVSVN", "OE_INVALID_ISVSVN"),
    ({"debug": True}, "OE_CRYPTO_ERROR", "OE_CRYPTO_ERROR"),
    ({"seed": 1}, "OE_CRYPTO_ERROR", "OE_CRYPTO_ERROR"),
    ({"patch_level": 0}, "OE_INVALID_CPUSVN", "OE_INVALID_CPUSVN"),
]


@pytest.mark.parametrize("policy", [UNIQUE, PRODUCT])
@pytest.mark.parametrize("opener", range(len(OPENERS)), ids=[str(o[0]) for o in OPENERS])
def test_who_opens_a_blob(policy: int, opener: int) -> None:
    by, *results = OPENERS[opener]
    blob, result = seal(b"for whom?", policy), results[policy - 1]
    if result == "OE_OK":
        assert unseal(blob, **by) == b"for whom?"
    else:
        assert refusal(blob, **by) == result


def test_what_an_older_processor_or_program_sealed_opens_at_a_newer_one() -> None:
    assert unseal(seal(b"old", patch_level=0)) == b"old"
    assert unseal(seal(b"old", PRODUCT, isvsvn=4)) == b"old"


def test_a_blob_survives_a_reboot_but_not_a_change_of_owner() -> None:
    host = server()
    first = host.create_enclave(KEEPER, identity=Identity(3, 5))
    blob = bytes(first.seal(b"mine", 4, b"", 0, UNIQUE, HEAD + 4).blob)
    host.machine.power_cut()
    second = server().create_enclave(KEEPER, identity=Identity(3, 5))
    assert second.unseal(blob, len(blob), b"", 0, 4).data == b"mine"
    second.guest.driver._sgx.ownerepoch = b"another owner..."  # type: ignore[attr-defined]
    with pytest.raises(EcallFailed, match="OE_CRYPTO_ERROR"):
        second.unseal(blob, len(blob), b"", 0, 4)


def test_no_memory_is_lost() -> None:
    before = keeper().free_memory()
    blob = seal(b"x" * 50)
    unseal(blob)
    refusal(blob + b"\0")
    refusal(blob, isvsvn=4)
    for how in range(11):
        with pytest.raises(EcallFailed):
            keeper().misuse_seal(how)
    for how in range(17):
        with pytest.raises(EcallFailed):
            keeper().misuse_report(how, 0)
    assert keeper().free_memory() == before > 0


SEAL_MISUSE = ["OE_UNSUPPORTED"] * 2 + ["OE_INVALID_PARAMETER"] * 6 + ["OE_OUT_OF_MEMORY"] * 3


@pytest.mark.parametrize(("how", "code"), list(enumerate(SEAL_MISUSE)))
def test_oe_seal_refuses_what_it_cannot_do(how: int, code: str) -> None:
    with pytest.raises(EcallFailed, match=code):
        keeper().misuse_seal(how)


@pytest.mark.parametrize("how", range(7))
def test_oe_unseal_refuses_illegal_arguments(how: int) -> None:
    with pytest.raises(EcallFailed, match="OE_INVALID_PARAMETER"):
        keeper().misuse_unseal(how, keeper().guest.arena[0])


REPORT_MISUSE = (
    ["OE_SERVICE_UNAVAILABLE"]
    + ["OE_INVALID_PARAMETER"] * 9
    + ["OE_REPORT_PARSE_ERROR", "OE_INVALID_PARAMETER"]
    + ["OE_REPORT_PARSE_ERROR"] * 2
    + ["OE_INVALID_PARAMETER"] * 2
    + ["OE_VERIFY_FAILED_AES_CMAC_MISMATCH"]
)


@pytest.mark.parametrize(("how", "code"), list(enumerate(REPORT_MISUSE)))
def test_reports_refuse_illegal_arguments(how: int, code: str) -> None:
    with pytest.raises(EcallFailed, match=code):
        keeper().misuse_report(how, keeper().guest.arena[0])


def test_a_report_says_whether_the_enclave_is_for_debugging() -> None:
    keeper(debug=True).misuse_report(17, 0)
    with pytest.raises(EcallFailed, match="OE_UNEXPECTED"):
        keeper().misuse_report(17, 0)


def test_without_a_tee_there_is_nothing_to_seal_or_report_with() -> None:
    plain = server("none").create_enclave(KEEPER)
    for call in (
        lambda: plain.seal(b"x", 1, b"", 0, UNIQUE, 100),
        lambda: plain.unseal(bytes(100), 100, b"", 0, 100),
        lambda: plain.misuse_report(17, 0),
    ):
        with pytest.raises(EcallFailed, match="OE_UNSUPPORTED"):
            call()


# The two programs


def test_two_enclaves_convince_each_other() -> None:
    host = server()
    a, b = (host.create_enclave("reporter", identity=Identity(n)) for n in (1, 2))
    for one, other in ((a, b), (b, a)):
        report = one.report_to(other.my_target(), b"hello".ljust(64, b"\0"))
        found = other.check(report)
        assert found.unique_id == one.mrenclave
        assert found.signer_id == one.mrsigner
        assert found.data.rstrip(b"\0") == b"hello"
    body = ReportBody.unpack(bytes(report[16:400]))
    assert body.isvprodid == 2


def test_the_target_says_how_to_address_the_enclave() -> None:
    reporter = server().create_enclave("reporter", debug=True)
    target = TARGETINFO.unpack(bytes(reporter.my_target()))
    secs = reporter.guest.enclave.secs  # type: ignore[attr-defined]
    assert target == TARGETINFO(measurement=secs.mrenclave, attributes=secs.attributes)


def test_a_report_for_another_enclave_or_with_a_changed_byte_is_not_believed() -> None:
    host = server()
    a = host.create_enclave("reporter")
    b = host.create_enclave(another_version(load_program("reporter")))
    for_b = a.report_to(b.my_target(), bytes(64))
    assert b.check(for_b).unique_id == a.mrenclave
    mismatch = "OE_VERIFY_FAILED_AES_CMAC_MISMATCH"
    with pytest.raises(EcallFailed, match=mismatch):
        a.check(for_b)
    for at in range(16, 448, 7):
        changed = for_b[:at] + bytes((for_b[at] ^ 1,)) + for_b[at + 1 :]
        with pytest.raises(EcallFailed, match=mismatch):
            b.check(changed)


@pytest.mark.parametrize("tee", ["none", "vbs", "sgx-mee", "sgx-tme"])
@pytest.mark.parametrize("policy", [UNIQUE, PRODUCT])
def test_the_card_remembers_its_uses(tee: str, policy: int) -> None:
    host, disk = server(tee), []

    def card() -> DeployedEnclave:
        store = {"store": lambda state, _size: disk.append(state)}
        return host.create_enclave("sealed_counter", ocalls=store)

    first = card()
    first.issue(3, policy)
    assert [first.spend(), first.spend()] == [1, 1]
    first.close()
    second = card()
    second.restore(disk[-1], len(disk[-1]))
    assert second.uses_left() == 1
    assert [second.spend(), second.spend()] == [1, 0]
    assert len(disk) == 4


def test_the_program_says_its_product_and_version(tmp_path: Path) -> None:
    shutil.copytree(find("vault"), tmp_path / "vault")
    config = tmp_path / "vault" / "program.toml"
    config.write_text(config.read_text("utf-8") + "isvprodid = 7\nisvsvn = 65535\n", "utf-8")
    vault = server().create_enclave(tmp_path / "vault")
    secs = vault.guest.enclave.secs  # type: ignore[attr-defined]
    assert (secs.isvprodid, secs.isvsvn) == (7, 65535)
    config.write_text(config.read_text("utf-8").replace("65535", "65536"), "utf-8")
    with pytest.raises(BuildError, match="expected 0 to 65535"):
        load_program(tmp_path / "vault")
