"""What a PCK certificate says about the platform: Intel's SGX extension.

The extension is a sequence of pairs of object identifier and value, some of the values again such
sequences. The identifiers are 1.2.840.113741.1.13.1, and one or two numbers more.

Source: Intel SGX PCK Certificate and Certificate Revocation List Profile Specification, "SGX
Extensions".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Self, TypeAlias

from tee_sim.errors import LayoutError

_BOOLEAN, _INTEGER, _OCTETS, _ENUMERATED, _SEQUENCE = 0x01, 0x02, 0x04, 0x0A, 0x30
SGX_ARC: Final = bytes.fromhex("2A864886F84D010D01")
"""The identifier of the extension, 1.2.840.113741.1.13.1, as DER stores it."""
SGX_TYPES: Final = ("Standard", "Scalable", "ScalableWithIntegrity")

_Values: TypeAlias = dict[bytes, tuple[int, bytes]]


@dataclass(frozen=True)
class PCK:
    """A platform at one raw TCB, as Intel certified it; the last four are None for clients."""

    ppid: bytes  # 16 bytes: which platform it is
    components: tuple[int, ...]  # 16 security versions, which the TCB levels are compared with
    pcesvn: int  # security version of the provisioning certification enclave (PCE)
    pceid: bytes  # 2 bytes: which PCE
    fmspc: bytes  # 6 bytes: family, model, stepping, platform and custom SKU
    sgx_type: str  # one of SGX_TYPES
    platform_instance_id: bytes | None  # 16 bytes
    dynamic_platform: bool | None  # packages can be added to the platform
    cached_keys: bool | None  # Intel keeps the platform's root keys
    smt_enabled: bool | None  # simultaneous multithreading is on

    @classmethod
    def parse(cls, extension: bytes | None) -> Self:
        """Read the SGX extension, DER, or `LayoutError`."""
        outer = list(_elements(extension or b""))
        if len(outer) != 1:
            raise LayoutError("PCK certificate: no SGX extension")
        pairs = list(_pairs(outer[0][1]))
        values = dict(pairs)
        if len(values) != len(pairs):
            raise LayoutError("SGX extension: an entry is there twice")
        _octets(values, 16, 2, 18)  # CPUSVN: the components say the same, and count
        kind = _number(values, _ENUMERATED, len(SGX_TYPES) - 1, 5)
        flags = ((7, 1), (7, 2), (7, 3))
        return cls(
            _octets(values, 16, 1),
            tuple(_number(values, _INTEGER, 0xFF, 2, n) for n in range(1, 17)),
            _number(values, _INTEGER, 0xFFFF, 2, 17),
            _octets(values, 2, 3),
            _octets(values, 6, 4),
            SGX_TYPES[kind],
            _octets(values, 16, 6) if bytes([6]) in values else None,
            *(
                _number(values, _BOOLEAN, 0xFF, *f) > 0 if bytes(f) in values else None
                for f in flags
            ),
        )


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and content of the DER elements that follow each other in the data."""
    while data:
        size, start = data[1] if len(data) > 1 else 0, 2
        if size >= 0x80:
            start += size - 0x80
            size = int.from_bytes(data[2:start], "big")
        if start + size > len(data):
            raise LayoutError(f"SGX extension: an element of {size} bytes reaches beyond its end")
        yield data[0], data[start : start + size]
        data = data[start + size :]


def _pairs(data: bytes, depth: int = 2) -> Iterator[tuple[bytes, tuple[int, bytes]]]:
    """Values by the numbers with which their identifiers go on, those in sequences among them."""
    for tag, sequence in _elements(data):
        pair = list(_elements(sequence))
        if tag != _SEQUENCE or len(pair) != 2 or not pair[0][1].startswith(SGX_ARC):
            raise LayoutError("SGX extension: an entry is no pair of identifier and value")
        (_, identifier), value = pair
        yield identifier[len(SGX_ARC) :], value
        if value[0] == _SEQUENCE and depth > 1:
            yield from _pairs(value[1], depth - 1)


def _value(values: _Values, tag: int, name: tuple[int, ...]) -> bytes:
    found = values.get(bytes(name))
    if found is None or found[0] != tag:
        raise LayoutError(f"SGX extension: no entry {'.'.join(map(str, name))} of DER tag {tag}")
    return found[1]


def _octets(values: _Values, size: int, *name: int) -> bytes:
    data = _value(values, _OCTETS, name)
    if len(data) != size:
        raise LayoutError(f"SGX extension: entry {name} has {len(data)} bytes, not {size}")
    return data


def _number(values: _Values, tag: int, most: int, *name: int) -> int:
    number = int.from_bytes(_value(values, tag, name), "big")
    if number > most:
        raise LayoutError(f"SGX extension: entry {name} is {number}, above {most}")
    return number
