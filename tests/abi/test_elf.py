"""Reading ELF files: honest ones as pyelftools itself reads them, lying ones not at all."""

from io import BytesIO
from struct import pack, pack_into

import pytest
from elftools.elf.elffile import ELFFile

from signed_files import signed_file
from tee_sim.abi import elf
from tee_sim.abi.recognise import recognise
from tee_sim.errors import LayoutError, Truncated
from tee_sim.sdk.build import shipped
from tee_sim.sdk.elf import read_elf
from tee_sim.sdk.sources import find

VAULT = shipped(find("vault"), "vault", "sgx").read_bytes()
FILE = elf.read(VAULT)
(SYMTAB,) = (section for section in FILE.sections if section.sh_type == "SHT_SYMTAB")
SYMTAB_HEADER = FILE.elf["e_shoff"] + FILE.sections.index(SYMTAB) * 64
NAMES = FILE.sections[SYMTAB.sh_link]


@pytest.mark.parametrize("data", [VAULT, signed_file().data], ids=["program", "signed enclave"])
def test_honest_files_are_read_as_pyelftools_itself_reads_them(data):
    file, reference = elf.read(data), ELFFile(BytesIO(data))
    assert file.programs == [reference.get_segment(i).header for i in range(len(file.programs))]
    assert len(file.programs) == reference.num_segments()
    sections = list(reference.iter_sections())
    assert file.sections == [section.header for section in sections]
    assert all(file.section(section.name) == section.header for section in sections)
    assert file.section(".nowhere") is None


def test_symbols_are_those_of_pyelftools():
    table = ELFFile(BytesIO(VAULT)).get_section_by_name(".symtab")
    found = read_elf(VAULT).symbols
    assert len(found) > 20
    assert all(table.get_symbol_by_name(name)[0]["st_value"] == at for name, at in found.items())


def changed(data: bytes, at: int, layout: str, *values: int) -> bytes:
    content = bytearray(data)
    pack_into(layout, content, at, *values)
    return bytes(content)


LARGE = VAULT + b"x" * (8 << 20)
ROWS = elf.MAX_ROWS
LIES = [
    (VAULT, SYMTAB_HEADER + 24, "<Q", 1 << 63, Truncated, "symbol at 0x8000000000000000 reaches"),
    (VAULT, SYMTAB_HEADER + 32, "<Q", len(VAULT), Truncated, "symbol at .* reaches beyond"),
    (LARGE, SYMTAB_HEADER + 32, "<Q", 24 * (ROWS + 1), LayoutError, f"over {ROWS} of them"),
    (VAULT, SYMTAB_HEADER + 32, "<Q", (1 << 64) - 1, LayoutError, f"over {ROWS} of them"),
    (VAULT, SYMTAB_HEADER + 40, "<I", 0xFFFF, LayoutError, "section 65535, which is none"),
    (VAULT, SYMTAB_HEADER + 40, "<I", 0, LayoutError, "no zero byte ends it"),
    (LARGE, SYMTAB.sh_offset + 24, "<I", 0xFFFFFFFF, LayoutError, "no zero byte ends it"),
    (VAULT, SYMTAB.sh_offset + 24, "<I", NAMES.sh_size, LayoutError, "no zero byte ends it"),
]


@pytest.mark.parametrize(("data", "at", "layout", "value", "error", "said"), LIES)
def test_a_table_that_lies_is_refused_with_its_reason(data, at, layout, value, error, said):
    data = changed(data, at, layout, value)
    if "ends it" in said:  # the first symbol is none: make the second one a function in section 1
        data = changed(data, SYMTAB.sh_offset + 28, "<BBHQ", 2, 0, 1, 0)
    with pytest.raises(error, match=said):
        read_elf(data)


def test_a_name_without_end_in_a_large_section_is_refused():
    names = FILE.elf["e_shoff"] + SYMTAB.sh_link * 64
    data = changed(LARGE, names + 24, "<QQ", len(VAULT), 8 << 20)
    with pytest.raises(LayoutError, match=f"ends it before 0x.*{len(VAULT) + elf.MAX_NAME:x}"):
        read_elf(changed(data, SYMTAB.sh_offset + 24, "<IBBHQ", 0, 2, 0, 1, 0))


def test_one_symbol_table_is_read_however_many_there_are():
    last = FILE.elf["e_shoff"] + 64 * (len(FILE.sections) - 1)
    assert last > SYMTAB_HEADER
    assert read_elf(changed(VAULT, last + 4, "<I", 2)) == read_elf(VAULT)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bits", [32, 64])
def test_files_of_every_class_and_byte_order_are_summarised(bits, order):
    word = "I" if bits == 32 else "Q"
    ident = bytes([127, 69, 76, 70, bits // 32, 1 + (order == ">"), 1]).ljust(16, b"\0")
    head = (2, 8, 1, 0x400, 0, 0, 0, 40, 0, 0, 0, 0, 0)  # for a MIPS; no segments, as in a *.o
    (_, header), (_, segments) = recognise(ident + pack(f"{order}HHI3{word}I6H", *head))
    values = {row.name: row.value for row in header}
    assert (values["class"], values["machine"], values["entry"]) == (f"{bits}-bit", "MIPS", 0x400)
    assert not segments
