"""SGX's structures: their sizes, their offsets, and real examples of them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tee_sim.abi import sgx, sgx_sign
from tee_sim.abi.layout import Struct
from tee_sim.errors import LayoutError, Reserved, UnknownVersion
from vectors import vector

STRUCTURES: list[type[Struct]] = [
    value
    for module in (sgx, sgx_sign)
    for value in vars(module).values()
    if isinstance(value, type) and issubclass(value, Struct) and value is not Struct
]


@pytest.mark.parametrize("kind", STRUCTURES, ids=lambda kind: kind.__name__)
@settings(max_examples=30)
@given(data=st.data())
def test_any_bytes_of_the_right_size_are_parsed_or_refused(
    kind: type[Struct], data: st.DataObject
) -> None:
    sparse = bytearray(kind.SIZE)
    for position in data.draw(st.lists(st.integers(0, kind.SIZE - 1), max_size=6)):
        sparse[position] = data.draw(st.integers(0, 255))
    try:
        value = kind.unpack(sparse)
    except LayoutError:
        return
    assert value.pack() == sparse


@pytest.mark.parametrize("kind", STRUCTURES, ids=lambda kind: kind.__name__)
def test_every_structure_names_its_source_and_meanings(kind: type[Struct]) -> None:
    assert kind.SOURCE.startswith('Intel SDM Vol. 3D, "')
    assert kind.__doc__
    assert all(field.meaning for field in kind.FIELDS.values())


@pytest.mark.parametrize(
    ("kind", "field", "offset", "size"),
    [
        # Positions that are easy to get wrong, from the published headers named in the module.
        (sgx.SECS, "attributes", 48, 16),
        (sgx.SECS, "mrsigner", 128, 32),
        (sgx.SECS, "configid", 192, 64),
        (sgx.SECS, "configsvn", 260, 2),
        (sgx.TCS, "cssa", 24, 4),
        (sgx.TCS, "aep", 40, 8),
        (sgx.TCS, "gslimit", 68, 4),
        (sgx.GPRSGX, "exitinfo", 160, 4),
        (sgx.GPRSGX, "aexnotify", 167, 1),
        (sgx.GPRSGX, "gsbase", 176, 8),
        (sgx.TARGETINFO, "configsvn", 50, 2),
        (sgx.TARGETINFO, "miscselect", 52, 4),
        (sgx.ReportBody, "isvextprodid", 32, 16),
        (sgx.ReportBody, "isvfamilyid", 304, 16),
        (sgx.ReportBody, "reportdata", 320, 64),
        (sgx.REPORT, "mac", 416, 16),
        (sgx.KEYREQUEST, "keyid", 40, 32),
        (sgx.KEYREQUEST, "configsvn", 76, 2),
        (sgx.PCMD, "mac", 112, 16),
        (sgx_sign.SIGSTRUCT, "signature", 516, 384),
        (sgx_sign.SIGSTRUCT, "isvfamilyid", 912, 16),
        (sgx_sign.SIGSTRUCT, "enclavehash", 960, 32),
        (sgx_sign.SIGSTRUCT, "isvsvn", 1026, 2),
        (sgx_sign.SIGSTRUCT, "q2", 1424, 384),
        (sgx_sign.EINITTOKEN, "maskedmiscselectle", 236, 4),
        (sgx_sign.EINITTOKEN, "mac", 288, 16),
    ],
)
def test_fields_are_where_the_manual_puts_them(
    kind: type[Struct], field: str, offset: int, size: int
) -> None:
    assert (kind.FIELDS[field].offset, kind.FIELDS[field].size) == (offset, size)


def test_attribute_bits_have_the_manuals_numbers() -> None:
    flags = sgx.AttributeFlags.of(0x4B7 | 0x40)
    assert repr(flags) == (
        "AttributeFlags(0x4f7, init, debug, mode64bit, provisionkey, einittokenkey, "
        "cet, kss, aexnotify)"
    )
    with pytest.raises(Reserved, match="3:3"):
        sgx.AttributeFlags.of(8)


def test_secinfo_flags_hold_rights_state_and_type() -> None:
    flags = sgx.SecinfoFlags(r=True, w=True, page_type=sgx.PageType.REG)
    assert flags == 0x203
    assert sgx.SecinfoFlags.of(0x0118).modified
    assert sgx.SecinfoFlags.of(0x0118).page_type is sgx.PageType.TCS


def test_an_unknown_page_type_is_refused() -> None:
    with pytest.raises(UnknownVersion, match="page_type: 7"):
        sgx.SECINFO.unpack(b"\x00\x07" + bytes(62))


def test_exitinfo_has_its_valid_bit_at_the_top() -> None:
    assert sgx.ExitInfo(vector=14, exit_type=3, valid=True) == 0x8000030E


def test_a_key_request_for_an_unknown_key_can_be_read() -> None:
    assert sgx.KEYREQUEST.unpack(b"\x07" + bytes(511)).keyname == 7


@pytest.mark.parametrize("name", ["sgx/test_enclave.sig", "sgx/sig1.sigstruct.bin"])
def test_real_sigstructs_are_read_and_written_unchanged(name: str) -> None:
    data = vector(name)
    sigstruct = sgx_sign.SIGSTRUCT.unpack(data)
    assert sigstruct.pack() == data
    assert sigstruct.header == sgx_sign.HEADER
    assert sigstruct.header2 == sgx_sign.HEADER2
    assert sigstruct.exponent == 3
    assert sigstruct.attributes.flags.mode64bit


def test_a_real_sigstruct_names_its_enclave() -> None:
    sigstruct = sgx_sign.SIGSTRUCT.unpack(vector("sgx/test_enclave.sig"))
    assert sigstruct.enclavehash.hex().startswith("784acfd7d5096a8f0fbd3265760bff")
    assert sigstruct.enclavehash.hex().endswith("98fc")
    assert sigstruct.date == 0x20161214


def test_the_report_in_a_real_quote_is_read_and_written_unchanged() -> None:
    data = vector("dcap/sgx_quote")[48 : 48 + 384]
    body = sgx.ReportBody.unpack(data)
    assert body.pack() == data
    assert body.attributes.flags.init
    assert body.attributes.xfrm & 3 == 3
