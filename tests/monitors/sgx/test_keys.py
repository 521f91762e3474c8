"""EGETKEY: who gets which key, and what each key depends on."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assembly import ASK, DATA_GVA, Asker, clear_present, mov
from tee_sim import Platform
from tee_sim.abi.image import Identity
from tee_sim.abi.sgx import KEYREQUEST, AttributesMask, KeyName, KeyPolicy
from tee_sim.errors import GeneralProtection, PageFault
from tee_sim.machine.registers import RBX, RCX
from tee_sim.monitors.sgx import keys
from tee_sim.monitors.sgx.enclu import Leaf
from tee_sim.monitors.sgx.processor import cpusvn
from tee_sim.units import MIB

SEAL, REPORT = KeyName.SEAL, KeyName.REPORT
EINITTOKEN, PROVISION, PROVISION_SEAL = (
    KeyName.EINITTOKEN,
    KeyName.PROVISION,
    KeyName.PROVISION_SEAL,
)
NOW, BEFORE, BEYOND = cpusvn(1), cpusvn(0), cpusvn(2)
MRENCLAVE, MRSIGNER = KeyPolicy(mrenclave=True), KeyPolicy(mrsigner=True)
ME = Identity(
    isvprodid=3,
    isvsvn=5,
    isvfamilyid=b"f" * 16,
    isvextprodid=b"e" * 16,
    configid=b"c" * 64,
    configsvn=7,
    provisionkey=True,
    einittokenkey=True,
)
MODEST = Identity(isvprodid=3, isvsvn=5)
ALL = (1 << 64) - 1


def platform(**how: Any) -> Platform:
    return Platform("sgx-tme", memory=20 * MIB, epc=MIB, **how)


@cache
def asker(identity: Identity = ME, seed: int = 0, **how: Any) -> Asker:
    return Asker(platform(seed=seed), identity=identity, **how)


def request(name: int = SEAL, **fields: Any) -> KEYREQUEST:
    return KEYREQUEST(**{"keyname": name, "cpusvn": NOW, "isvsvn": 5} | fields)


# What is refused, in the order of the SDM's pseudocode


def test_the_operands_have_to_be_aligned_and_inside() -> None:
    for register, value in (
        (RBX, DATA_GVA + 256),
        (RBX, 0x1000),
        (RCX, DATA_GVA + 0x408),
        (RCX, 0x1000),
    ):
        at = ASK.replace(mov(register, DATA_GVA + (0x400 if register == RCX else 0)), b"", 1)
        with pytest.raises(GeneralProtection):
            Asker(platform(), mov(register, value) + at).call(Leaf.EGETKEY, request().pack())


def test_an_unmapped_operand_is_a_page_fault() -> None:
    lone = Asker(platform())
    lone.data[:512] = request().pack()
    clear_present(lone.guest, DATA_GVA)
    with pytest.raises(Exception, match="#PF"):
        lone.guest.enter(0, Leaf.EGETKEY, 0)


@pytest.mark.parametrize("right", ["r", "w"])
def test_an_operand_needs_the_rights_of_an_access_by_the_enclave(right: str) -> None:
    lone = Asker(platform())
    entry = lone.sgx.epcm[lone.guest.pages[DATA_GVA - lone.guest.base]]
    setattr(entry, right, False)
    with pytest.raises(PageFault):
        lone.call(Leaf.EGETKEY, request().pack())


RESERVED = {
    "reserved byte": (request().pack()[:7] + b"\1" + request().pack()[8:], ME),
    "reserved end": (request().pack()[:-1] + b"\1", ME),
    "reserved policy": (request().pack()[:2] + b"\x40" + request().pack()[3:], ME),
    "CET mask": (request(cet_attributes_mask=1).pack(), ME),
    "policy without KSS": (request(keypolicy=KeyPolicy(noisvprodid=True)).pack(), MODEST),
    "family without KSS": (request(keypolicy=KeyPolicy(isvfamilyid=True)).pack(), MODEST),
    "CONFIGSVN without KSS": (request(configsvn=1).pack(), MODEST),
}


@pytest.mark.parametrize("name", RESERVED)
def test_an_illegal_request_is_a_general_protection_fault(name: str) -> None:
    data, identity = RESERVED[name]
    with pytest.raises(GeneralProtection):
        Asker(platform(), identity=identity).call(Leaf.EGETKEY, data)


# Name of the key, fields, error code; each line has the defects of all lines below it, too.
DEFECTS: list[tuple[int, dict[str, Any]]] = [
    (32, {"cpusvn": BEYOND}),
    (64, {"isvsvn": 6}),
    (64, {"configsvn": 8}),
]


@pytest.mark.parametrize("name", [SEAL, PROVISION_SEAL])
@pytest.mark.parametrize("first", range(len(DEFECTS)))
def test_of_several_defects_the_first_is_reported(name: KeyName, first: int) -> None:
    fields: dict[str, Any] = {}
    for _, defect in DEFECTS[first:]:
        fields |= defect
    assert asker().key(request(name, **fields)) == DEFECTS[first][0]


@pytest.mark.parametrize("name", [EINITTOKEN, PROVISION, PROVISION_SEAL])
def test_a_key_that_needs_a_capability_is_refused_without_it(name: KeyName) -> None:
    assert asker(MODEST).key(request(name, cpusvn=BEYOND, isvsvn=9)) == 2
    assert isinstance(asker().key(request(name)), bytes)


@pytest.mark.parametrize("name", [5, 6, 0x100, 0xFFFF])
def test_an_unknown_key_is_refused(name: int) -> None:
    assert asker().key(request(name, cpusvn=BEYOND, isvsvn=9)) == 256


@pytest.mark.parametrize("component", range(16))
def test_one_component_beyond_the_current_cpusvn_is_enough(component: int) -> None:
    asked = bytearray(BEFORE)
    asked[component] = NOW[component] + 1
    assert asker().key(request(cpusvn=bytes(asked))) == 32


@pytest.mark.parametrize("name", [SEAL, EINITTOKEN, PROVISION, PROVISION_SEAL])
def test_older_versions_get_their_own_keys(name: KeyName) -> None:
    current = asker().key(request(name))
    for older in ({"cpusvn": BEFORE}, {"isvsvn": 4}, {"cpusvn": bytes(16)}, {"isvsvn": 0}):
        found = asker().key(request(name, **older))
        assert isinstance(found, bytes)
        assert found != current


def test_a_report_key_is_always_of_the_current_version() -> None:
    odd = request(REPORT, cpusvn=BEYOND, isvsvn=99, configsvn=99, keypolicy=KeyPolicy.of(0x3F))
    assert asker().key(odd) == asker().key(request(REPORT))


def test_an_old_processor_gets_no_key_of_a_newer_one_and_the_newer_one_gets_the_old_key() -> None:
    old = Asker(platform(patch_level=0), identity=ME)
    assert old.key(request()) == 32
    assert old.key(request(cpusvn=BEFORE)) == asker().key(request(cpusvn=BEFORE))


# Relations: what a key depends on, and nothing else. Column by column of "Key Derivation".

REQUEST_FIELDS: dict[str, Any] = {
    "cpusvn": BEFORE,
    "isvsvn": 4,
    "keyid": b"k" * 32,
    "attributemask": AttributesMask(flags=ALL, xfrm=ALL),
    "miscmask": 1,
    "keypolicy": KeyPolicy(mrenclave=True, configid=True),
    "configsvn": 6,
}
DEPENDS_ON_REQUEST = {
    SEAL: set(REQUEST_FIELDS) - {"configsvn"},
    REPORT: {"keyid"},
    EINITTOKEN: {"cpusvn", "isvsvn", "keyid", "attributemask"},
    PROVISION: {"cpusvn", "isvsvn", "attributemask", "miscmask"},
    PROVISION_SEAL: {"cpusvn", "isvsvn", "attributemask", "miscmask", "keypolicy"},
}


@pytest.mark.parametrize("name", list(KeyName))
@pytest.mark.parametrize("field", REQUEST_FIELDS)
def test_which_fields_of_the_request_enter_a_key(name: KeyName, field: str) -> None:
    changed = asker().key(request(name, **{field: REQUEST_FIELDS[field]}))
    differs = changed != asker().key(request(name))
    assert differs == (field in DEPENDS_ON_REQUEST[name])


@pytest.mark.parametrize("name", [SEAL, PROVISION_SEAL])
def test_configsvn_enters_with_the_policy_that_names_it(name: KeyName) -> None:
    config = KeyPolicy(configid=True)
    one, other = (asker().key(request(name, keypolicy=config, configsvn=n)) for n in (6, 7))
    assert one != other


OTHERS: dict[str, dict[str, Any]] = {
    "mrenclave": {"data": b"another program"},
    "mrsigner": {"attacker": True},
    "isvprodid": {"identity": Identity(**vars(ME) | {"isvprodid": 4})},
    "own isvsvn": {"identity": Identity(**vars(ME) | {"isvsvn": 6})},
    "isvfamilyid": {"identity": Identity(**vars(ME) | {"isvfamilyid": b"F" * 16})},
    "isvextprodid": {"identity": Identity(**vars(ME) | {"isvextprodid": b"E" * 16})},
    "configid": {"identity": Identity(**vars(ME) | {"configid": b"C" * 64})},
    "own configsvn": {"identity": Identity(**vars(ME) | {"configsvn": 8})},
    "debug": {"debug": True},
    "processor": {"seed": 1},
}
ALWAYS = {"debug", "processor"}
EVERY_POLICY = KeyPolicy.of(0x3B)
DEPENDS_ON_IDENTITY = {
    (SEAL, 0): ALWAYS | {"isvprodid"},
    (SEAL, MRENCLAVE): ALWAYS | {"isvprodid", "mrenclave"},
    (SEAL, MRSIGNER): ALWAYS | {"isvprodid", "mrsigner"},
    (SEAL, KeyPolicy(mrsigner=True, noisvprodid=True)): ALWAYS | {"mrsigner"},
    (SEAL, EVERY_POLICY): set(OTHERS) - {"own isvsvn", "own configsvn"},
    (PROVISION_SEAL, 0): ALWAYS | {"isvprodid", "mrsigner"},
    (PROVISION_SEAL, EVERY_POLICY): set(OTHERS) - {"own isvsvn", "own configsvn", "mrenclave"},
    (PROVISION, EVERY_POLICY): ALWAYS | {"isvprodid", "mrsigner"},
    (EINITTOKEN, EVERY_POLICY): ALWAYS | {"isvprodid", "mrsigner"},
    (REPORT, EVERY_POLICY): ALWAYS | {"mrenclave", "configid", "own configsvn"},
}


@pytest.mark.parametrize(("name", "policy"), DEPENDS_ON_IDENTITY)
@pytest.mark.parametrize("other", OTHERS)
def test_which_parts_of_an_identity_enter_a_key(name: KeyName, policy: int, other: str) -> None:
    asked = request(name, keypolicy=KeyPolicy.of(policy))
    differs = asker().key(asked) != asker(**OTHERS[other]).key(asked)
    assert differs == (other in DEPENDS_ON_IDENTITY[name, policy])


@pytest.mark.parametrize("name", list(KeyName))
def test_a_new_owner_has_other_keys_but_the_same_provisioning_keys(name: KeyName) -> None:
    lone = Asker(platform(), identity=ME)
    before = lone.key(request(name))
    lone.sgx.ownerepoch = b"second owner    "
    assert (lone.key(request(name)) == before) == (name in (PROVISION, PROVISION_SEAL))


@pytest.mark.parametrize("name", list(KeyName))
def test_only_the_provisioning_key_does_without_the_seal_fuses(name: KeyName) -> None:
    lone = Asker(platform(), identity=ME)
    before = lone.key(request(name))
    lone.sgx.seal_fuses = bytes(16)
    assert (lone.key(request(name)) == before) == (name == PROVISION)


requests = st.builds(
    KEYREQUEST,
    keyname=st.sampled_from(KeyName),
    keypolicy=st.integers(0, 0x3F).map(KeyPolicy.of),
    isvsvn=st.integers(0, 5),
    cpusvn=st.binary(min_size=16, max_size=16).map(lambda b: bytes(x % 3 for x in b)),
    attributemask=st.builds(AttributesMask, flags=st.integers(0, ALL), xfrm=st.integers(0, ALL)),
    keyid=st.binary(min_size=32, max_size=32),
    miscmask=st.integers(0, 0xFFFF_FFFF),
    configsvn=st.integers(0, 7),
)


@given(requests)
@settings(max_examples=60)
def test_the_same_inputs_give_the_same_key_on_the_same_processor(asked: KEYREQUEST) -> None:
    found = asker().key(asked)
    assert found == asker().key(asked)
    twin = Asker(platform(), identity=ME)
    assert twin.key(asked) == found


@given(requests, requests)
@settings(max_examples=60)
def test_two_keys_are_equal_exactly_if_they_are_bound_to_the_same(
    one: KEYREQUEST, other: KEYREQUEST
) -> None:
    sgx, enclave = asker().sgx, asker().guest.enclave
    for second in (other, one.with_(isvsvn=0), one.with_(keyid=bytes(32)), one.with_(miscmask=0)):
        records = [keys.dependencies(sgx, enclave, asked) for asked in (one, second)]
        found = [asker().key(asked) for asked in (one, second)]
        assert (records[0] == records[1]) == (found[0] == found[1])


def test_without_a_seed_each_processor_is_another_one() -> None:
    keys = {Asker(platform(seed=None)).key(request(isvsvn=0)) for _ in range(2)}
    assert len(keys) == 2


def test_the_keys_survive_a_reboot() -> None:
    lone = Asker(platform())
    before = lone.key(request(isvsvn=0))
    lone.platform.machine.power_cut()
    again = Asker(lone.platform)
    assert again.key(request(isvsvn=0)) == before
