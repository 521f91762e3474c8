"""What a PCK certificate says about the platform: Intel's SGX extension.

Source: Intel SGX PCK Certificate and Certificate Revocation List Profile Specification, "SGX
Extensions". The extension is a sequence of pairs of object identifier and value; the identifiers
are 1.2.840.113741.1.13.1 and one or two numbers more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

from tee_sim.errors import LayoutError, Truncated

_BOOLEAN, _INTEGER, _OCTETS, _OID, _ENUMERATED, _SEQUENCE = 0x01, 0x02, 0x04, 0x06, 0x0A, 0x30
_ARC: Final = bytes.fromhex("2A864886F84D010D01")  # 1.2.840.113741.1.13.1
SGX_TYPES: Final = ("Standard", "Scalable", "ScalableWithIntegrity")

Value: TypeAlias = tuple[int, bytes]


@dataclass(frozen=True)
class PCK:
    """A platform at one raw TCB, as Intel certified it.

    Attributes:
        ppid: 16 bytes: which platform it is.
        components: 16 security versions, which the TCB levels are compared with.
        pcesvn: security version of the provisioning certification enclave.
        cpusvn: 16 bytes: the raw CPUSVN.
        pceid: 2 bytes: which PCE.
        fmspc: 6 bytes: family, model, stepping, platform and custom SKU.
        sgx_type: one of `SGX_TYPES`.
        platform_instance_id: 16 bytes; None for client platforms, like the rest.
        dynamic_platform: packages can be added to the platform.
        cached_keys: Intel keeps the platform's root keys.
        smt_enabled: simultaneous multithreading is on.
    """

    ppid: bytes
    components: tuple[int, ...]
    pcesvn: int
    cpusvn: bytes
    pceid: bytes
    fmspc: bytes
    sgx_type: str
    platform_instance_id: bytes | None = None
    dynamic_platform: bool | None = None
    cached_keys: bool | None = None
    smt_enabled: bool | None = None

    @classmethod
    def parse(cls, extension: bytes | None) -> PCK:
        """Read the SGX extension, DER.

        Raises:
            LayoutError: it is missing or not as it should be.
        """
        if extension is None:
            raise LayoutError("PCK certificate: no SGX extension")
        sequence, rest = _element(extension)
        if rest:
            raise LayoutError("SGX extension: bytes are left over after it")
        top = _pairs(sequence)
        tcb = _pairs(_get(top, 2))
        kind = _number(top, _ENUMERATED, 5)
        if kind >= len(SGX_TYPES):
            raise LayoutError(f"SGX extension: type {kind} is unknown")
        setup = _pairs(_get(top, 7)) if (7,) in top else {}
        return cls(
            _octets(top, 16, 1),
            tuple(_number(tcb, _INTEGER, 2, n, most=0xFF) for n in range(1, 17)),
            _number(tcb, _INTEGER, 2, 17),
            _octets(tcb, 16, 2, 18),
            _octets(top, 2, 3),
            _octets(top, 6, 4),
            SGX_TYPES[kind],
            _octets(top, 16, 6) if (6,) in top else None,
            *(bool(_number(setup, _BOOLEAN, 7, n)) if (7, n) in setup else None for n in (1, 2, 3)),
        )


def _element(data: bytes) -> tuple[Value, bytes]:
    """The DER element at the start of the data, and what follows it."""
    if len(data) < 2:
        raise Truncated("SGX extension: it ends within an element")
    tag, size, start = data[0], data[1], 2
    if size >= 0x80:
        start += size - 0x80
        size = int.from_bytes(data[2:start], "big")
    if start + size > len(data):
        raise Truncated(f"SGX extension: an element of {size} bytes reaches beyond its end")
    return (tag, data[start : start + size]), data[start + size :]


def _pairs(sequence: Value) -> dict[tuple[int, ...], Value]:
    """Values by the numbers with which their identifiers go on after the extension's own."""
    found: dict[tuple[int, ...], Value] = {}
    rest = _content(sequence, _SEQUENCE)
    while rest:
        pair, rest = _element(rest)
        oid, after = _element(_content(pair, _SEQUENCE))
        value, after = _element(after)
        name = _content(oid, _OID)
        if not name.startswith(_ARC) or after or tuple(name[len(_ARC) :]) in found:
            raise LayoutError(f"SGX extension: a wrong or repeated entry, identifier {name.hex()}")
        found[tuple(name[len(_ARC) :])] = value
    return found


def _content(value: Value, tag: int) -> bytes:
    if value[0] != tag:
        raise LayoutError(f"SGX extension: DER tag {value[0]:#x} where {tag:#x} should be")
    return value[1]


def _get(pairs: dict[tuple[int, ...], Value], *name: int) -> Value:
    if name not in pairs:
        raise LayoutError(f"SGX extension: no entry {'.'.join(map(str, name))}")
    return pairs[name]


def _octets(pairs: dict[tuple[int, ...], Value], size: int, *name: int) -> bytes:
    data = _content(_get(pairs, *name), _OCTETS)
    if len(data) != size:
        raise LayoutError(f"SGX extension: entry {name} has {len(data)} bytes, not {size}")
    return data


def _number(pairs: dict[tuple[int, ...], Value], tag: int, *name: int, most: int = 0xFFFF) -> int:
    number = int.from_bytes(_content(_get(pairs, *name), tag), "big", signed=tag == _INTEGER)
    if not 0 <= number <= most:
        raise LayoutError(f"SGX extension: entry {name} is {number}, not in 0-{most}")
    return number
