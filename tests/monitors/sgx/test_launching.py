"""EINIT and launch control: what is refused, in which order, and what a launch changes."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.cmac import CMAC

from assembly import ASK, Asker, image
from bench import EXACT, FLAGS, GP, PF, PLAIN, Bench, place, secs
from tee_sim import Platform
from tee_sim.abi.image import Identity, measure
from tee_sim.abi.sgx import KEYREQUEST, SECS, Attributes, AttributesMask, KeyName, MiscSelect
from tee_sim.abi.sgx_sign import EINITTOKEN, SIGSTRUCT
from tee_sim.errors import LayoutError, PermissionRefused, SGXError, TeeSimError, UsageError
from tee_sim.hypervisor.sgx import SGXGuest
from tee_sim.monitors.sgx import building, launching
from tee_sim.monitors.sgx.processor import LAUNCH_CONTROL, LOCKED, SGX_ENABLE, VENDOR_HASH, cpusvn
from tee_sim.monitors.sgx.sigstruct import (
    load_attacker_key,
    load_signing_key,
    load_vendor_key,
    mrsigner,
    quotients,
    sign,
)
from tee_sim.units import MIB


@pytest.fixture
def bench() -> Bench:
    return Bench()


# EINIT


def resigned(sigstruct: SIGSTRUCT, **changes: Any) -> SIGSTRUCT:
    """The SIGSTRUCT with fields changed that `sign` would not write, and then signed again."""
    key = load_signing_key()
    changed = sigstruct.with_(**changes)
    big_endian = key.sign(changed.signed_bytes(), PKCS1v15(), hashes.SHA256())
    quotient = quotients(int.from_bytes(big_endian, "big"), key.public_key().public_numbers().n)
    q1, q2 = (value.to_bytes(384, "little") for value in quotient)
    return changed.with_(signature=big_endian[::-1], q1=q1, q2=q2)


def spoilt(data: bytes) -> bytes:
    return data[:40] + bytes((data[40] ^ 1,)) + data[41:]


ANOTHER = b"\x77" * 32
DEBUG = Attributes(flags=FLAGS.with_(debug=True), xfrm=3)

# In the SDM's order: the code, what the author signs differently, what is changed afterwards.
DEFECTS: dict[str, tuple[int, dict[str, Any], dict[str, Any]]] = {
    "header": (1, {}, {"header": bytes(16)}),
    "header2": (1, {}, {"header2": bytes(16)}),
    "vendor": (1, {}, {"vendor": 0x8087}),
    "exponent": (1, {}, {"exponent": 65537}),
    "CET attributes": (1, {}, {"cet_attributes": 1}),
    "CET mask": (1, {}, {"cet_attributes_mask": 1}),
    "signature": (8, {}, {"signature": "spoil"}),
    "modulus": (8, {}, {"modulus": "spoil"}),
    "q1": (8, {}, {"q1": "spoil"}),
    "q2": (8, {}, {"q2": "spoil"}),
    "changed after signing": (8, {}, {"isvsvn": 9}),
    "family without KSS": (1, {"isvfamilyid": b"f" * 16}, {}),
    "extended product without KSS": (1, {"isvextprodid": b"e" * 16}, {}),
    "measurement": (4, {"measurement": ANOTHER}, {}),
    "attributes": (2, {"attributes": DEBUG}, {}),
    "XFRM": (2, {"attributes": Attributes(flags=FLAGS, xfrm=7)}, {}),
    "MISCSELECT": (2, {"miscselect": MiscSelect(exinfo=True)}, {}),
    "signer": (16, {"key": "attacker"}, {}),
}


def defective(bench: Bench, *names: str) -> SIGSTRUCT:
    asked: dict[str, Any] = {}
    changes: dict[str, Any] = {}
    for name in names:
        asked |= DEFECTS[name][1]
        changes |= DEFECTS[name][2]
    if asked.get("key"):
        asked["key"] = load_attacker_key()
    good = bench.signed(**asked)
    for name, value in changes.items():
        changes[name] = spoilt(getattr(good, name)) if value == "spoil" else value
    return good.with_(**changes)


@pytest.mark.parametrize("name", DEFECTS)
def test_einit_refuses_a_sigstruct_with_the_code_of_its_defect(bench: Bench, name: str) -> None:
    with bench.refused(DEFECTS[name][0]):
        launching.einit(bench.sgx, bench.secs_hpa, defective(bench, name))


RESIGNED = {"header": bytes(16), "vendor": 1, "header2": bytes(16), "cet_attributes": 1}


@pytest.mark.parametrize("field", RESIGNED)
def test_an_illegal_constant_is_refused_though_it_is_signed(bench: Bench, field: str) -> None:
    with bench.refused(1):
        bad = resigned(bench.signed(), **{field: RESIGNED[field]})
        launching.einit(bench.sgx, bench.secs_hpa, bad)


ORDERED = [
    "header",
    "signature",
    "family without KSS",
    "measurement",
    "attributes",
    "MISCSELECT",
    "signer",
]
PAIRS = [(a, b) for index, a in enumerate(ORDERED) for b in ORDERED[index + 1 :]]


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_of_two_defects_einit_reports_the_one_that_the_sdm_checks_first(
    bench: Bench, first: str, second: str
) -> None:
    sigstruct = defective(bench, second, first)
    with bench.refused(DEFECTS[first][0]):
        launching.einit(bench.sgx, bench.secs_hpa, sigstruct)


@pytest.mark.parametrize("hash_matches", [True, False])
def test_einittokenkey_is_for_the_signer_in_lepubkeyhash_alone(
    bench: Bench, hash_matches: bool
) -> None:
    wanted = Attributes(flags=FLAGS.with_(einittokenkey=True), xfrm=3)
    bench.enclave = building.ecreate(bench.sgx, bench.free, secs(attributes=wanted))
    sigstruct = bench.signed(attributes=wanted)
    if hash_matches:
        launching.einit(bench.sgx, bench.free, sigstruct)
        return
    bench.sgx.lepubkeyhash = bytes(32)
    with bench.refused(2):
        launching.einit(bench.sgx, bench.free, sigstruct)


def test_provisionkey_is_not_checked_by_einit(bench: Bench) -> None:
    wanted = Attributes(flags=FLAGS.with_(provisionkey=True), xfrm=3)
    bench.enclave = building.ecreate(bench.sgx, bench.free, secs(attributes=wanted))
    launching.einit(bench.sgx, bench.free, bench.signed(attributes=wanted))
    assert bench.enclave.initialised


def test_a_bit_outside_the_mask_may_differ(bench: Bench) -> None:
    mask = AttributesMask(flags=~2 & 2**64 - 1, xfrm=3)
    changes = {"miscselect": MiscSelect(exinfo=True), "miscmask": 0}
    sigstruct = bench.signed(attributes=DEBUG, attributemask=mask, **changes)
    launching.einit(bench.sgx, bench.secs_hpa, sigstruct)
    assert bench.enclave.initialised
    assert not bench.enclave.debug


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("secs_hpa + 64", GP),
        ("outside", PF),
        ("beyond", PF),
        ("page", PF),
        ("free", PF),
    ],
)
def test_einit_needs_a_secs(bench: Bench, where: str, expected: type[TeeSimError]) -> None:
    with bench.refused(expected):
        launching.einit(bench.sgx, place(bench, where), bench.signed())


@pytest.mark.parametrize("name", ["header", "signature"])
@pytest.mark.parametrize(
    ("where", "wins"), [("secs_hpa + 64", GP), ("outside", PF), ("page", None), ("free", None)]
)
def test_where_the_secs_is_counts_before_the_signature_and_what_it_is_after(
    bench: Bench, name: str, where: str, wins: type[TeeSimError] | None
) -> None:
    with bench.refused(wins or DEFECTS[name][0]):
        launching.einit(bench.sgx, place(bench, where), defective(bench, name))


def test_einit_happens_once(bench: Bench) -> None:
    launching.einit(bench.sgx, bench.secs_hpa, bench.signed())
    with bench.refused(GP):
        launching.einit(bench.sgx, bench.secs_hpa, bench.signed())


def test_einit_writes_the_identity_into_the_secs(bench: Bench) -> None:
    measured = bench.enclave.mrenclave
    sigstruct = bench.signed(isvprodid=5, isvsvn=6)
    launching.einit(bench.sgx, bench.secs_hpa, sigstruct)
    expected = secs(
        attributes=Attributes(flags=FLAGS.with_(init=True), xfrm=3),
        mrenclave=measured,
        mrsigner=mrsigner(sigstruct),
        isvprodid=5,
        isvsvn=6,
    )
    assert bench.enclave.secs == expected
    assert SECS.unpack(bytes(bench.sgx.machine.cache.view(bench.secs_hpa))) == expected


def test_einit_writes_the_identity_of_kss(bench: Bench) -> None:
    wanted = Attributes(flags=FLAGS.with_(kss=True), xfrm=3)
    bench.enclave = building.ecreate(bench.sgx, bench.free, secs(attributes=wanted))
    ids = {"isvfamilyid": b"f" * 16, "isvextprodid": b"e" * 16}
    launching.einit(bench.sgx, bench.free, bench.signed(attributes=wanted, **ids))
    assert bench.enclave.isvfamilyid == ids["isvfamilyid"]
    assert bench.enclave.isvextprodid == ids["isvextprodid"]


# The registers of launch control


def test_the_vendor_hash_is_that_of_the_simulated_vendor() -> None:
    modulus = load_vendor_key().public_key().public_numbers().n
    assert hashlib.sha256(modulus.to_bytes(384, "little")).digest() == VENDOR_HASH
    assert Bench(launch_control=False).sgx.lepubkeyhash == VENDOR_HASH


@pytest.mark.parametrize("index", range(4))
def test_each_register_holds_eight_bytes_of_the_hash(bench: Bench, index: int) -> None:
    before = bench.sgx.lepubkeyhash
    bench.driver.wrmsr(0x8C + index, 0x0807060504030201)
    after = bench.sgx.lepubkeyhash
    assert after[8 * index : 8 * index + 8] == bytes(range(1, 9))
    assert after[: 8 * index] + after[8 * index + 8 :] == (
        before[: 8 * index] + before[8 * index + 8 :]
    )


@pytest.mark.parametrize(
    ("control", "writable"),
    [(0, False), (LAUNCH_CONTROL, False), (LOCKED | SGX_ENABLE, False), (LOCKED | 1 << 17, True)],
)
def test_the_hash_is_writable_only_if_locked_with_launch_control(
    bench: Bench, control: int, writable: bool
) -> None:
    bench.sgx.feature_control = control
    if writable:
        bench.driver.wrmsr(0x8C, 1)
        return
    with bench.refused(GP):
        bench.driver.wrmsr(0x8C, 1)


def test_feature_control_is_written_until_it_is_locked(bench: Bench) -> None:
    bench.sgx.feature_control = 0
    bench.driver.wrmsr(0x3A, SGX_ENABLE)
    bench.driver.wrmsr(0x3A, LOCKED | SGX_ENABLE)
    with bench.refused(GP):
        bench.driver.wrmsr(0x3A, LOCKED | SGX_ENABLE | LAUNCH_CONTROL)


def test_a_reset_brings_the_vendors_hash_back(bench: Bench) -> None:
    bench.driver.wrmsr(0x8C, 1)
    bench.sgx.feature_control = 0
    bench.platform.machine.power_cut()
    assert bench.sgx.lepubkeyhash == VENDOR_HASH
    assert bench.sgx.feature_control == LOCKED | LAUNCH_CONTROL | SGX_ENABLE


@pytest.mark.parametrize("msr", [0, 0x3B, 0x8B, 0x90])
def test_no_other_register_is_known(bench: Bench, msr: int) -> None:
    with bench.refused(GP):
        bench.driver.wrmsr(msr, 0)
    with pytest.raises(UsageError):
        bench.driver.wrmsr(msr, 1 << 64)


# Tokens


class Locked(Bench):
    """A server whose vendor controls launches, with a launch enclave of that vendor."""

    def __init__(self) -> None:
        super().__init__(launch_control=False)
        self.launcher = self.launch_enclave()

    def launch_enclave(self, debug: bool = False) -> Asker:
        identity = Identity(isvprodid=9, isvsvn=2, einittokenkey=True)
        code = image(ASK)
        sigstruct = sign(
            measure(code),
            load_vendor_key(),
            attributes=identity.attributes(debug=debug),
            attributemask=EXACT,
            isvprodid=9,
            isvsvn=2,
        )
        guest = SGXGuest(
            self.platform.host,
            self.driver,
            code,
            sigstruct,
            identity.attributes(debug=debug),
        )
        return Asker(self.platform, guest=guest)

    def token(self, **changes: Any) -> EINITTOKEN:
        """A permission for the bench's enclave, made as a launch enclave makes it."""
        secs = self.launcher.guest.enclave.secs
        fields: dict[str, Any] = {
            "valid": 1,
            "attributes": PLAIN,
            "mrenclave": self.enclave.mrenclave,
            "mrsigner": mrsigner(self.signed()),
            "cpusvnle": cpusvn(1),
            "isvprodidle": secs.isvprodid,
            "isvsvnle": secs.isvsvn,
            "maskedattributesle": secs.attributes,
            "keyid": b"n" * 32,
        }
        token = EINITTOKEN(**fields | changes)
        mac = CMAC(AES(self.key(token)))
        mac.update(token.pack()[:192])
        return token.with_(mac=mac.finalize())

    def key(self, token: EINITTOKEN) -> bytes:
        request = KEYREQUEST(
            keyname=KeyName.EINITTOKEN,
            cpusvn=min(token.cpusvnle, cpusvn(1)),
            isvsvn=min(token.isvsvnle, 2),
            attributemask=EXACT,
            miscmask=0xFFFF_FFFF,
            keyid=token.keyid,
        )
        found = self.launcher.key(request)
        assert isinstance(found, bytes)
        return found

    def einit(self, token: EINITTOKEN | None, sigstruct: SIGSTRUCT | None = None) -> None:
        self.driver.einit(self.secs_hpa, sigstruct or self.signed(), token)


@pytest.fixture
def locked() -> Locked:
    return Locked()


def test_under_the_vendors_control_others_need_a_token(locked: Locked) -> None:
    with locked.refused(16):
        locked.einit(None)
    with locked.refused(16):
        locked.einit(EINITTOKEN())
    locked.einit(locked.token())
    assert locked.enclave.initialised
    assert locked.sgx.lepubkeyhash == VENDOR_HASH


def test_the_vendor_needs_no_token(locked: Locked) -> None:
    assert locked.launcher.guest.enclave.initialised


def test_a_token_whose_valid_bit_is_clear_is_none(locked: Locked) -> None:
    token = locked.token(valid=0)
    with locked.refused(16):
        locked.einit(token)


@pytest.mark.parametrize("older", [{"cpusvnle": cpusvn(0)}, {"isvsvnle": 1}])
def test_a_token_of_an_older_launch_enclave_or_processor_is_good(
    locked: Locked, older: dict[str, Any]
) -> None:
    locked.einit(locked.token(**older))
    assert locked.enclave.initialised


# In the SDM's order; each token has the defects of all lines below it, too.
TOKENS: list[tuple[str, int, dict[str, Any]]] = [
    ("reserved", 16, {"valid": 3}),
    ("CPUSVN", 32, {"cpusvnle": cpusvn(2)}),
    ("MAC", 16, {"mac": bytes(16)}),
    ("MRENCLAVE", 4, {"mrenclave": ANOTHER}),
    ("MRSIGNER", 4, {"mrsigner": ANOTHER}),
    ("ATTRIBUTES", 2, {"attributes": DEBUG}),
]


@pytest.mark.parametrize("first", range(len(TOKENS)), ids=[name for name, *_ in TOKENS])
@pytest.mark.parametrize("alone", [True, False])
def test_a_token_is_refused_with_the_code_of_its_first_defect(
    locked: Locked, first: int, alone: bool
) -> None:
    _, code, changes = TOKENS[first]
    for _, _, more in () if alone else TOKENS[first + 1 :]:
        changes = more | changes
    mac = changes.get("mac")
    token = locked.token(**{name: value for name, value in changes.items() if name != "mac"})
    with locked.refused(code):
        locked.einit(token.with_(mac=mac) if mac else token)


def test_a_debug_launch_enclave_permits_debug_enclaves_only(locked: Locked) -> None:
    locked.launcher = locked.launch_enclave(debug=True)
    with locked.refused(16):
        locked.einit(locked.token())
    locked.enclave = building.ecreate(locked.sgx, locked.free, secs(attributes=DEBUG))
    token = locked.token(attributes=DEBUG)
    launching.einit(locked.sgx, locked.free, locked.signed(attributes=DEBUG), token)
    assert locked.enclave.initialised


def test_a_token_with_any_byte_changed_is_refused(locked: Locked) -> None:
    good, judged = locked.token().pack(), 0
    for at in range(304):
        changed = bytearray(good)
        changed[at] ^= 4
        try:
            token = EINITTOKEN.unpack(bytes(changed))
        except LayoutError:  # a reserved byte
            continue
        with pytest.raises(SGXError):
            locked.einit(token)
        judged += 1
    assert judged > 150


def test_a_token_of_another_processor_is_refused(locked: Locked) -> None:
    token = locked.token()
    locked.sgx.seal_fuses = bytes(16)
    with locked.refused(16):
        locked.einit(token)


def test_the_launch_key_needs_the_vendors_signature(locked: Locked) -> None:
    wanted = Attributes(flags=FLAGS.with_(einittokenkey=True), xfrm=3)
    locked.enclave = building.ecreate(locked.sgx, locked.free, secs(attributes=wanted))
    token = locked.token()
    with locked.refused(2):
        launching.einit(locked.sgx, locked.free, locked.signed(attributes=wanted), token)


def test_with_launch_control_the_kernel_names_each_signer(bench: Bench) -> None:
    bench.driver.einit(bench.secs_hpa, bench.signed())
    assert bench.sgx.lepubkeyhash == mrsigner(bench.signed()) != VENDOR_HASH


# The kernel's part


def test_the_kernel_lets_only_provisioners_launch_with_provisionkey() -> None:
    host = Platform("sgx-tme", memory=20 * MIB, epc=4 * MIB)
    wanted = Identity(provisionkey=True)
    with pytest.raises(PermissionRefused, match="provisioners"):
        host.create_enclave("vault", identity=wanted)
    host.create_enclave("vault", identity=wanted, caller="aesmd").close()
    host.host.provisioners.add("customer")
    vault = host.create_enclave("vault", identity=wanted)
    assert isinstance(vault.guest, SGXGuest)
    assert vault.guest.enclave.secs.attributes.flags.provisionkey


def test_the_processor_does_not_care_who_launches_with_provisionkey() -> None:
    host = Platform("sgx-tme", memory=20 * MIB, epc=MIB)
    asker = Asker(host, identity=Identity(provisionkey=True))
    assert isinstance(asker.key(KEYREQUEST(keyname=KeyName.PROVISION)), bytes)
