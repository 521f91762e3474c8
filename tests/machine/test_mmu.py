"""The MMU: nothing that it remembers outlives what it rests on, and no code runs stale."""

from collections.abc import Callable

import pytest

from assembly import (
    ONES,
    REP_MOVSB,
    SYSCALL,
    Process,
    add,
    jump_to,
    load,
    mov,
    store,
    store_byte,
)
from tee_sim.errors import Fault, InvalidOpcode, PageFault
from tee_sim.machine.paging import ADDRESS_MASK, DIRTY, NO_EXECUTE, PRESENT, USER, WRITABLE
from tee_sim.machine.registers import RAX, RBX, RCX
from tee_sim.platform import Platform
from tee_sim.units import MIB, PAGE

PLATFORM = Platform("none")
AT, HEAP = 0x10000, 0x20000
ALL = PRESENT | WRITABLE | USER


def value_at(process: Process, gva: int) -> int:
    return int.from_bytes(process.machine.read(process.space.translate(gva) or 0, 8), "little")


# Write xor execute


def test_code_that_overwrites_a_later_block_runs_the_new_code() -> None:
    """``mov byte [rbx], imm``, jump over, and the overwritten instruction adds 5 and not 1."""
    new = store_byte(RBX, 5) + b"\xeb\x00" + add(RCX, 1) + SYSCALL
    process = Process(PLATFORM, new, writable=True)
    process.start(rbx=AT + len(store_byte(RBX, 5)) + 2 + 3)
    assert process.run().kind == "syscall"
    assert process.registers["rcx"] == 5


def test_code_that_overwrites_the_next_instruction_runs_the_new_one() -> None:
    """All in one block of straight-line code."""
    code = store_byte(RBX, 5) + add(RCX, 1) + SYSCALL
    process = Process(PLATFORM, code, writable=True)
    process.start(rbx=AT + len(store_byte(RBX, 5)) + 3)
    assert process.run().kind == "syscall"
    assert process.registers["rcx"] == 5


def test_code_may_overwrite_itself_again_and_again() -> None:
    """A loop whose body increments its own immediate operand: 1 + 2 + ... + 10."""
    body = add(RCX, 1)
    increment = b"\xfe\x03"  # inc byte [rbx]
    loop = body + increment + b"\x48\xff\xca" + b"\x75" + bytes((256 - len(body) - 2 - 3 - 2,))
    for limit in (None, 1, 7):
        process = Process(PLATFORM, loop + SYSCALL, writable=True)
        process.start(rbx=AT + 3, rdx=10)
        while process.run(limit).kind == "limit":
            pass
        assert process.registers["rcx"] == 55


def test_a_second_mapping_of_the_code_changes_it_too() -> None:
    code = store_byte(RBX, 5) + add(RCX, 1) + SYSCALL
    process = Process(PLATFORM, code)
    process.map(HEAP, hpa=process.space.translate(AT) or 0)
    process.start(rbx=HEAP + len(store_byte(RBX, 5)) + 3)
    assert process.run().kind == "syscall"
    assert process.registers["rcx"] == 5


def test_a_store_by_another_processor_changes_code() -> None:
    process = Process(PLATFORM, add(RCX, 1) + SYSCALL)
    process.run()
    other = Process(PLATFORM, store_byte(RBX, 5) + SYSCALL, processor=1)
    other.map(HEAP, hpa=process.space.translate(AT) or 0)
    other.start(rbx=HEAP + 3)
    assert other.run().kind == "syscall"
    process.start()
    process.run()
    assert process.registers["rcx"] == 5


@pytest.mark.parametrize("path", ["software", "bus"])
def test_a_host_write_to_executed_code_takes_effect(path: str) -> None:
    process = Process(PLATFORM, add(RCX, 1) + SYSCALL)
    process.run()
    writer = process.machine if path == "software" else process.machine.bus
    writer.write((process.space.translate(AT) or 0) + 3, b"\x05")
    process.start()
    process.run()
    assert process.registers["rcx"] == 5


def test_code_can_be_written_and_then_executed() -> None:
    new = int.from_bytes(add(RCX, 9), "little")
    code = mov(RAX, new) + store(RBX, RAX) + b"\xff\xd3" + SYSCALL  # call rbx
    process = Process(PLATFORM, code)
    process.map(HEAP, b"\x90" * 7 + b"\xc3", executable=True)
    process.map(HEAP + PAGE)
    for _again in range(2):
        process.start(rbx=HEAP, rsp=HEAP + PAGE + 64)
        process.machine.write((process.space.translate(HEAP) or 0) + 7, b"\xc3")
        process.lp.set_registers(process.lp.registers())
        stop = process.run()
        assert stop.fault is None or process.registers["rcx"] == 9
        assert process.registers["rcx"] == 9


# Remembered decisions


def reader() -> Process:
    """Reads the first 8 bytes of HEAP once for each run."""
    process = Process(PLATFORM, load(RAX, RBX) + SYSCALL)
    process.map(HEAP, b"old page")
    process.start(rbx=HEAP)
    assert process.run().kind == "syscall"
    return process


def read_again(process: Process) -> bytes | Fault:
    """Read once more, with the TLB as it is."""
    values = process.lp.registers()
    values[17] = AT
    process.lp.set_registers(values)
    stop = process.run()
    return stop.fault or process.registers["rax"].to_bytes(8, "little")


def other_page(process: Process, content: bytes) -> int:
    hpa = process.platform.host.frames.take()
    process.machine.write(hpa, content)
    return hpa


def test_a_tlb_keeps_its_translation_until_the_shootdown() -> None:
    process = reader()
    process.space.map(HEAP, other_page(process, b"new page"))
    assert read_again(process) == b"old page"
    process.machine.mmu.shootdown()
    assert read_again(process) == b"new page"


Change = Callable[[Process, int], None]


def by_the_kernel(process: Process, value: int) -> None:
    process.space.set_entry(HEAP, value)


def by_a_physical_write(process: Process, value: int) -> None:
    process.machine.write(process.space.entry_address(HEAP), value.to_bytes(8, "little"))


def by_the_bus(process: Process, value: int) -> None:
    process.machine.bus.write(process.space.entry_address(HEAP), value.to_bytes(8, "little"))


def by_another_process(process: Process, value: int) -> None:
    """The page table lies in memory that another program can write."""
    other = Process(PLATFORM, store(RBX, RAX) + SYSCALL, processor=1)
    place = process.space.entry_address(HEAP)
    other.map(HEAP, hpa=place & -PAGE)
    other.start(rbx=HEAP + place % PAGE, rax=value)
    assert other.run().kind == "syscall"


def by_a_process_that_could_write_there_before(process: Process, value: int) -> None:
    """Its translation is older than the page's use as a table."""
    space = process.space
    table = space.entry_address(HEAP) & -PAGE
    fresh = process.platform.host.frames.take()
    process.machine.write(fresh, bytes(PAGE))
    other = Process(PLATFORM, store(RBX, RAX) + store(RBX, RAX, 8) + SYSCALL, processor=1)
    other.map(HEAP, hpa=fresh)
    other.start(rbx=HEAP)
    assert other.run().kind == "syscall"
    process.machine.write(fresh, process.machine.read(table, PAGE))
    place = _directory_entry(process)
    process.machine.write(place, (fresh | ALL).to_bytes(8, "little"))
    process.machine.mmu.shootdown()
    assert read_again(process) == b"old page"
    index = (HEAP >> 12) & 0x1FF
    values = other.lp.registers()
    values[17], values[RBX], values[RAX] = AT, HEAP + 8 * index, value
    # No flush: the other processor goes on with the translation that it has.
    other.lp.set_registers(values)
    neighbour = process.machine.read(fresh + 8 * index + 8, 8)
    assert other.run().kind == "syscall"
    process.machine.write(fresh + 8 * index + 8, neighbour)


def _directory_entry(process: Process) -> int:
    table = process.space.cr3
    for shift in (39, 30):
        entry = process.machine.read(table + ((HEAP >> shift) & 0x1FF) * 8, 8)
        table = int.from_bytes(entry, "little") & ADDRESS_MASK
    return table + ((HEAP >> 21) & 0x1FF) * 8


CHANGES = [
    by_the_kernel,
    by_a_physical_write,
    by_the_bus,
    by_another_process,
    by_a_process_that_could_write_there_before,
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_no_remembered_decision_outlives_a_changed_page_table(change: Change) -> None:
    process = reader()
    change(process, other_page(process, b"new page") | ALL)
    process.lp.flush_tlb()
    assert read_again(process) == b"new page"


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_no_remembered_decision_outlives_a_removed_page(change: Change) -> None:
    process = reader()
    change(process, 0)
    process.lp.flush_tlb()
    assert isinstance(read_again(process), PageFault)


def test_a_page_directory_counts_as_a_page_table() -> None:
    process = reader()
    process.machine.bus.write(_directory_entry(process), bytes(8))
    process.lp.flush_tlb()
    fault = read_again(process)
    assert isinstance(fault, PageFault)
    assert fault.address & -PAGE in (AT, HEAP)


def test_decisions_of_one_address_space_do_not_serve_another() -> None:
    first = reader()
    second = Process(PLATFORM, load(RAX, RBX) + SYSCALL)
    second.map(HEAP, b"2nd page")
    second.start(rbx=HEAP)
    second.run()
    assert second.registers["rax"].to_bytes(8, "little") == b"2nd page"
    first.start(rbx=HEAP)
    first.run()
    assert first.registers["rax"].to_bytes(8, "little") == b"old page"


def test_freed_page_tables_are_ordinary_memory_again() -> None:
    """A program may write where tables stood, and decisions are still remembered after that."""
    platform = Platform("none")
    gone = platform.host.new_address_space()
    gone.map(HEAP, platform.host.frames.take())
    probe = Process(platform, load(RAX, RBX) + SYSCALL)
    probe.lp.switch(gone.cr3)
    with pytest.raises(PageFault):
        platform.machine.mmu.fill(probe.lp, AT, 0)
    platform.machine.mmu.fill(probe.lp, HEAP, 0)
    gone.free()
    process = Process(platform, store(RBX, RAX) + load(RAX, RBX) + SYSCALL)
    for index in range(8):
        process.map(HEAP + PAGE * index)
        process.start(rbx=HEAP + PAGE * index)
        assert process.run().kind == "syscall"
    assert process.lp.decisions, "nothing is remembered any more"


def test_the_dirty_bit_is_set_by_the_first_write_of_a_page_that_was_read() -> None:
    process = Process(PLATFORM, load(RAX, RBX) + store(RBX, RAX) + SYSCALL)
    process.map(HEAP)
    process.start(rbx=HEAP)
    assert process.run(1).kind == "limit"
    assert not process.space.entry(HEAP) & DIRTY
    process.run()
    assert process.space.entry(HEAP) & DIRTY


def test_a_cleared_dirty_bit_is_set_again_after_a_flush() -> None:
    process = Process(PLATFORM, store(RBX, RAX) + SYSCALL)
    process.map(HEAP)
    for _again in range(3):
        process.start(rbx=HEAP)
        process.run()
        assert process.space.entry(HEAP) & DIRTY
        process.space.set_entry(HEAP, process.space.entry(HEAP) & ~DIRTY)


def test_nx_and_read_only_reach_the_processor() -> None:
    process = Process(PLATFORM, jump_to(HEAP))
    process.map(HEAP, SYSCALL)
    assert process.space.entry(HEAP) & NO_EXECUTE
    stop = process.run()
    assert isinstance(stop.fault, PageFault)
    assert stop.fault.error_code == 0x15
    process = Process(PLATFORM, store(RBX, RAX, 0x123) + SYSCALL)
    process.map(HEAP, writable=False)
    process.start(rbx=HEAP)
    stop = process.run()
    assert isinstance(stop.fault, PageFault)
    assert (stop.fault.error_code, stop.fault.address) == (0x7, HEAP + 0x123)


def test_a_working_set_of_thousands_of_pages_survives_tlb_growth() -> None:
    """Writes the page number into each of 1,500 pages, then sums them up."""
    pages = 1500
    process = Process(
        PLATFORM,
        # loop: mov [rbx], rcx; add rbx, 4096; inc rcx; cmp rcx, rdx; jne
        store(RBX, RCX)
        + add(RBX, PAGE)
        + b"\x48\xff\xc1\x48\x39\xd1\x75"
        + bytes((256 - 7 - 7 - 3 - 3 - 2,))
        + SYSCALL,
    )
    for index in range(pages):
        process.map(0x100_0000 + PAGE * index)
    process.start(rbx=0x100_0000, rdx=pages)
    assert process.run().kind == "syscall"
    assert [value_at(process, 0x100_0000 + PAGE * n) for n in range(pages)] == list(range(pages))


@pytest.mark.parametrize("reach", ["load", "store", "jump"])
def test_a_mapping_beyond_memory_is_a_reserved_bit_fault(reach: str) -> None:
    """The engine has memory up there: the plaintext frames. No guest may name them."""
    code = {
        "load": load(RAX, RBX) + SYSCALL,
        "store": store(RBX, RAX) + SYSCALL,
        "jump": jump_to(HEAP),
    }[reach]
    for hpa in (PLATFORM.machine.dram.size, 1 << 40, 2 << 40):
        process = Process(PLATFORM, code)
        process.map(HEAP, hpa=hpa, executable=True)
        process.start(rbx=HEAP)
        stop = process.run()
        assert isinstance(stop.fault, PageFault)
        assert stop.fault.error_code & 0x9 == 0x9


# The abort page: a program without an enclave on a machine that has an EPC


SGX = Platform("sgx-tme", memory=64 * MIB, epc=4 * MIB)
assert SGX.host.sgx is not None
EPC = SGX.host.sgx.epc.take()


def outsider(code: bytes, platform: Platform = SGX, **registers: int) -> Process:
    process = Process(platform, code)
    process.map(HEAP, hpa=EPC, executable=True)
    process.start(**{"rbx": HEAP} | registers)
    return process


def test_an_outsider_reads_all_ones_from_the_epc() -> None:
    process = outsider(load(RAX, RBX) + load(RCX, RBX, PAGE - 8) + SYSCALL)
    assert process.run().kind == "syscall"
    assert process.registers["rax"] == process.registers["rcx"] == ONES


def test_an_outsiders_writes_to_the_epc_are_dropped() -> None:
    process = outsider(store(RBX, RCX) + load(RAX, RBX) + SYSCALL, rcx=0x5EC2E7)
    assert process.run().kind == "syscall"
    assert process.registers["rax"] == ONES
    assert (0x5EC2E7).to_bytes(8, "little") not in process.machine.cache.read(EPC, PAGE)


@pytest.mark.parametrize(
    ("name", "encoding"),
    [
        ("add [rbx], rcx", "48010b"),
        ("lock add [rbx], rcx", "f048010b"),
        ("lock xadd [rbx], rcx", "f0480fc10b"),
        ("xchg [rbx], rcx", "48870b"),
        ("lock cmpxchg16b [rbx]", "f0480fc70b"),
        ("push qword [rbx]; pop qword [rbx]", "ff338f03"),
    ],
)
def test_a_read_modify_write_reads_ones_and_stores_nothing(name: str, encoding: str) -> None:
    process = outsider(bytes.fromhex(encoding) + load(RAX, RBX) + SYSCALL, rcx=2, rsp=0x30010)
    process.map(0x30000)
    assert process.run().kind == "syscall", name
    assert process.registers["rax"] == ONES
    if "add" in name and "x" not in name[:6]:
        assert process.registers["rflags"] & 1, "ones plus two carries"


def test_an_access_that_reaches_into_the_epc_splits() -> None:
    process = outsider(store(RBX, RCX, -4) + load(RAX, RBX, -4) + SYSCALL, rcx=0x1122334455667788)
    process.map(HEAP - PAGE)
    assert process.run().kind == "syscall"
    assert process.registers["rax"] == 0xFFFFFFFF_55667788


def test_what_was_dropped_is_seen_by_nobody() -> None:
    """Not by another program, not at another address, not at the top of the address space."""
    process = outsider(store(RBX, RCX) + SYSCALL, rcx=0x5EC2E75EC2E7)
    assert process.run().kind == "syscall"
    for gva in (HEAP, 0xFFFF_FFFF_FFFF_F000):
        reader = outsider(load(RAX, RBX) + SYSCALL, rbx=gva)
        reader.run()
        assert reader.registers["rax"] != 0x5EC2E75EC2E7
    jumper = outsider(jump_to(0xFFFF_FFFF_FFFF_F000))
    stop = jumper.run(1000)
    assert isinstance(stop.fault, PageFault)


def test_bulk_copies_out_of_the_epc_are_ones() -> None:
    process = outsider(REP_MOVSB + SYSCALL, rsi=HEAP, rdi=0x30000, rcx=PAGE)
    hpa = process.map(0x30000)
    assert process.run().kind == "syscall"
    assert process.machine.read(hpa, PAGE) == b"\xff" * PAGE


def test_a_fetch_from_the_epc_is_ud() -> None:
    process = outsider(jump_to(HEAP + 0x40))
    stop = process.run()
    assert isinstance(stop.fault, InvalidOpcode)
    assert process.registers["rip"] == HEAP + 0x40


def test_the_kernel_reads_ones_and_its_writes_are_dropped() -> None:
    machine = SGX.machine
    machine.write(EPC - 4, b"split")
    assert machine.read(EPC - 8, 16) == bytes(4) + b"spli" + b"\xff" * 8
    assert b"tted" not in machine.cache.read(EPC, PAGE)


@pytest.mark.parametrize("level", range(4))
def test_page_tables_in_the_epc_read_as_all_ones_and_stay_unchanged(level: int) -> None:
    """The walk is an access by software outside the enclave, too."""
    process = outsider(load(RAX, RBX) + SYSCALL)
    machine, table = process.machine, process.space.cr3
    forged = b"".join(((HEAP << 8) | ALL).to_bytes(8, "little") for _ in range(512))
    machine.bus.write(EPC + PAGE, forged)
    if level == 0:
        process.lp.switch(EPC + PAGE)
        process.lp.flush_tlb()
        process.lp.set_registers(process.lp.registers())
    else:
        for shift in (39, 30, 21)[: level - 1]:
            entry = machine.read(table + ((HEAP >> shift) & 0x1FF) * 8, 8)
            table = int.from_bytes(entry, "little") & ADDRESS_MASK
        shift = (39, 30, 21)[level - 1]
        place = table + ((HEAP >> shift) & 0x1FF) * 8
        machine.bus.write(place, (EPC + PAGE | ALL).to_bytes(8, "little"))
    stop = process.run()
    assert isinstance(stop.fault, PageFault)
    assert stop.fault.error_code & 9 == 9
    assert machine.bus.read(EPC + PAGE, PAGE) == forged
