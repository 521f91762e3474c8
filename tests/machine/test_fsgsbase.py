"""RDFSBASE and its relatives are decoded as hardware encodes them."""

from capstone import CS_ARCH_X86, CS_MODE_64, Cs
from hypothesis import given
from hypothesis import strategies as st

from tee_sim.machine.emulated import REPEAT, register_form
from tee_sim.machine.registers import REGISTER_NAMES

NAMES = ("rdfsbase", "rdgsbase", "wrfsbase", "wrgsbase")
DISASSEMBLER = Cs(CS_ARCH_X86, CS_MODE_64)


def disassembled(code):
    return next(DISASSEMBLER.disasm(code, 0), None)


@given(st.sampled_from([b"", *(bytes((rex,)) for rex in range(0x40, 0x50))]), st.binary(max_size=1))
def test_fsgsbase_agrees_with_the_disassembler(rex, modrm):
    code = b"\xf3" + rex + b"\x0f\xae" + modrm + bytes(4)
    expected, found = disassembled(code), register_form(code)
    if expected is None or expected.mnemonic not in NAMES:
        assert found is None or found.digit not in range(4)
    else:
        prefix, opcode, operation, register, size, length = found
        assert (prefix, opcode) == (REPEAT, 0xAE)
        assert NAMES[operation] == expected.mnemonic
        assert length == expected.size
        name = REGISTER_NAMES[register]
        short = name + "d" if name[1:].isdigit() else "e" + name[1:]
        assert expected.op_str == (name if size == 8 else short)


@given(st.binary(max_size=15))
def test_any_bytes_are_decoded_or_left_alone(code):
    found = register_form(code)
    assert found is None or found.length <= len(code)
