"""An enclave under construction, and its state before and after a leaf that refuses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tee_sim import Platform
from tee_sim.abi.sgx import (
    SECS,
    AttributeFlags,
    Attributes,
    AttributesMask,
    PageType,
    SecinfoFlags,
)
from tee_sim.abi.sgx_sign import SIGSTRUCT
from tee_sim.errors import Fault, GeneralProtection, PageFault, SGXError, TeeSimError
from tee_sim.hypervisor.sgx import SGXDriver
from tee_sim.monitors.sgx import building
from tee_sim.monitors.sgx.processor import SGX
from tee_sim.monitors.sgx.sigstruct import load_signing_key, mrsigner, sign
from tee_sim.units import MIB, PAGE

BASE, SIZE = 0x4000_0000, 0x10000
FLAGS = AttributeFlags(mode64bit=True)
PLAIN = Attributes(flags=FLAGS, xfrm=3)
EXACT = AttributesMask(flags=2**64 - 1, xfrm=2**64 - 1)
RW = SecinfoFlags(r=True, w=True, page_type=PageType.REG)
GP, PF = GeneralProtection, PageFault


def secs(**changes: Any) -> SECS:
    values = {"size": SIZE, "baseaddr": BASE, "ssaframesize": 1, "attributes": PLAIN}
    return SECS(**values | changes)


class Bench:
    """A processor with an enclave under construction: one page added, half of it measured."""

    def __init__(self, **how: Any) -> None:
        platform = Platform("sgx-tme", memory=20 * MIB, epc=MIB, **how)
        assert isinstance(platform.host.sgx, SGXDriver)
        self.platform, self.driver = platform, platform.host.sgx
        self.sgx: SGX = self.driver._sgx
        self.secs_hpa, self.page, self.free = (self.driver.epc.take() for _ in range(3))
        self.enclave = building.ecreate(self.sgx, self.secs_hpa, secs())
        building.eadd(self.sgx, self.page, self.secs_hpa, BASE, RW, b"\x11" * PAGE)
        building.eextend(self.sgx, self.page, 8)
        if platform.launch_control:
            self.sgx.lepubkeyhash = mrsigner(self.signed())

    def signed(self, key: Any = None, **changes: Any) -> SIGSTRUCT:
        values = {"attributes": PLAIN, "attributemask": EXACT} | changes
        measurement = values.pop("measurement", self.enclave.mrenclave)
        return sign(measurement, key or load_signing_key(), **values)

    def state(self) -> tuple[object, ...]:
        """All that a leaf may change."""
        pages = range(self.sgx.epcm.start, self.sgx.epcm.start + 8 * PAGE, PAGE)
        return (
            [repr(self.sgx.epcm[hpa]) for hpa in pages],
            [bytes(self.sgx.machine.cache.view(hpa)) for hpa in pages],
            [
                (hpa, it.secs, it.digest.digest(), it.initialised, set(it.inside))
                for hpa, it in self.sgx.enclaves.items()
            ],
            self.sgx.entries.copy(),
        )

    @contextmanager
    def refused(self, expected: type[TeeSimError] | int) -> Iterator[None]:
        """The block is refused, and nothing has changed."""
        before = self.state()
        kind = SGXError if isinstance(expected, int) else expected
        with pytest.raises(kind) as error:
            yield
        if isinstance(error.value, SGXError):
            assert error.value.code == expected
        else:
            assert type(error.value) is expected
            assert isinstance(error.value, Fault)
            assert error.value.vector == {GP: 13, PF: 14}[expected]
            assert error.value.error_code == 0
        assert self.state() == before


def place(bench: Bench, where: str) -> int:
    """An address by its name: an attribute of the bench, or outside the EPC, and an offset."""
    name, _, offset = where.partition(" + ")
    start = {"outside": bench.sgx.epcm.start - PAGE, "beyond": bench.sgx.epcm.stop}.get(name)
    return (getattr(bench, name) if start is None else start) + int(offset or 0)
