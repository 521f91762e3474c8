"""What random hostile sequences have found: one rule each."""

import struct

import pytest

from tee_sim import Platform
from tee_sim.errors import EnclaveLost, PageFault
from tee_sim.units import MIB, PAGE

SMALL = {"memory": 22 * MIB, "epc": 4 * MIB}
TOP = 2**64 - PAGE
SYSCALL = b"\x0f\x05"


def store(gva: int, value: int) -> bytes:
    return b"\x48\xb8" + struct.pack("<Q", value) + b"\x48\xa3" + struct.pack("<Q", gva)


def test_an_enclave_cannot_be_sent_to_what_was_written_to_the_abort_page() -> None:
    host = Platform("sgx-tme", **SMALL)
    victim = host.create_enclave("careless")
    victim.make_secret()
    steal = b"\x48\xa1" + struct.pack("<Q", victim.address("careless_secret")) + b"\xc3"
    steal = steal.ljust(16, b"\x90")
    sink = victim.address("careless_page")
    words = struct.unpack("<2Q", steal)
    code = store(sink, words[0]) + store(sink + 8, words[1]) + SYSCALL
    host.adversary.execute(victim.guest, code)
    with pytest.raises(EnclaveLost):
        victim.jump(TOP)


@pytest.mark.parametrize("at", [0, 8, 2040, 2048, PAGE - 8])
def test_the_last_page_of_the_address_space_is_a_page_like_any_other(at: int) -> None:
    host = Platform("sgx-tme", **SMALL)
    for call, argument in (("peek", ()), ("poke", (1,)), ("jump", ())):
        victim = host.create_enclave("careless")
        with pytest.raises(EnclaveLost) as lost:
            getattr(victim, call)(TOP + at, *argument)
        assert isinstance(lost.value.fault, PageFault) or call == "jump"
    other = host.create_enclave("careless")
    for code in (b"\x48\xa1" + struct.pack("<Q", TOP + at), store(TOP + at, 1)):
        with pytest.raises(PageFault):
            host.adversary.execute(other.guest, code + SYSCALL)
