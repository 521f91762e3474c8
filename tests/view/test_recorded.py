"""Pictures of what happened: computed from live state, and never against what was recorded."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from itertools import groupby

import pytest

from tee_sim import Platform
from tee_sim.abi.image import measure, measured_log
from tee_sim.abi.sgx import PageType
from tee_sim.abi.sgxs import EAddRecord, EExtendRecord
from tee_sim.errors import UsageError
from tee_sim.platform import DeployedEnclave
from tee_sim.sdk.image import load_program
from tee_sim.units import PAGE
from tee_sim.view import Player, recorded
from tee_sim.view.grid import grid
from tee_sim.view.scene_records import short

IMAGE = load_program("vault").image
TRIES = "vault_tries"
MEASURED = [page.measured.bit_count() for page in IMAGE.pages]
"""Of each page, how many chunks are measured: as many EEXTEND records follow its EADD."""
RECORDS = 1 + len(MEASURED) + sum(MEASURED)


def server(
    tee: str = "sgx-tme", *without: str, evict: bool = True
) -> tuple[Platform, DeployedEnclave]:
    host = Platform(tee, without=without)
    vault = host.create_enclave("vault")
    vault.make_secret("2718")
    if evict:
        host.adversary.evict(vault.physical(TRIES))
    return host, vault


def follow(host: Platform, vault: DeployedEnclave) -> Player:
    return recorded.access_funnel(host, vault, vault.address(TRIES), vault.tries_left)


def captions(player: Player) -> list[str]:
    return [frame.caption for frame in player.frames]


# What a launch measures


def test_the_records_are_the_measured_log() -> None:
    log = b"".join(record.pack() for record in recorded.records(IMAGE))
    assert log == b"".join(measured_log(IMAGE))
    assert hashlib.sha256(log).digest() == measure(IMAGE)


def test_the_last_digest_of_a_strip_is_mrenclave() -> None:
    strip = recorded.measurement_strip(IMAGE)
    assert short(measure(IMAGE)) in strip.frames[-1].caption


def test_a_strip_says_what_is_not_measured() -> None:
    page = replace(IMAGE.pages[3], measured=0)
    strip = recorded.measurement_strip(replace(IMAGE, pages=(page,)))
    assert "content not measured" in strip.frames[1].caption


def test_equal_images_differ_in_no_record() -> None:
    table = recorded.changed_records(IMAGE, IMAGE)
    assert "0 of" in table.body
    assert "<td>" not in table.body


def test_a_changed_byte_changes_one_record() -> None:
    page = IMAGE.pages[1]
    content = bytes([page.content[0] ^ 0xFF]) + page.content[1:]
    other = replace(IMAGE, pages=(IMAGE.pages[0], replace(page, content=content), *IMAGE.pages[2:]))
    body = recorded.changed_records(IMAGE, other).body
    number = 1 + (1 + MEASURED[0]) + 1  # behind ECREATE, the first page, and its own EADD
    assert f"1 of {RECORDS} records differ. Every digest from record {number} on" in body
    assert f"[0x0] = {page.content[0]:02x}" in body
    assert f"[0x0] = {content[0]:02x}" in body


def test_a_changed_right_changes_the_eadd_record_alone() -> None:
    pages = (replace(IMAGE.pages[0], x=True), *IMAGE.pages[1:])
    body = recorded.changed_records(IMAGE, replace(IMAGE, pages=pages)).body
    assert f"1 of {RECORDS} records differ. Every digest from record 1 on" in body
    assert "REG r--" in body
    assert "REG r-x" in body


def test_a_missing_page_is_shown_as_missing() -> None:
    body = recorded.changed_records(IMAGE, replace(IMAGE, pages=IMAGE.pages[:-1])).body
    assert "(none)" in body
    assert "9 more" in body


def test_records_of_both_kinds_are_read() -> None:
    kinds = {type(record) for record in recorded.records(IMAGE)}
    assert {EAddRecord, EExtendRecord} <= kinds


# One access


def test_an_allowed_access_passes_every_stage() -> None:
    host, vault = server()
    player = follow(host, vault)
    assert "REFUSED" not in " ".join(captions(player))
    assert captions(player)[-1].startswith(
        f"the program: at {vault.address(TRIES):#x} stands 03 00 00"
    )
    named = ("page table", "ELRANGE.EPC", "EPCM.ENCLAVEADDRESS", "EPCM.R", "DRAM", "MEM.ENCRYPTION")
    for name in named:
        assert any(caption.startswith(f"{name}:") for caption in captions(player)), name


def test_what_the_bus_delivers_is_read_from_dram() -> None:
    host, vault = server()
    raw = host.adversary.bus.read(vault.physical(TRIES), 8).hex(" ")
    assert any(raw in caption for caption in captions(follow(host, vault)))


def test_a_page_on_the_die_needs_neither_key_nor_dram() -> None:
    words = " ".join(captions(follow(*server(evict=False))))
    assert "the plaintext is on the die already" in words
    assert "DRAM:" not in words


def test_the_tree_is_asked_where_there_is_one() -> None:
    words = " ".join(captions(follow(*server("sgx-mee"))))
    assert "MEE.MAC" in words
    assert "MEE.TREE" in words


def test_without_a_tee_only_the_page_table_decides() -> None:
    player = follow(*server("none"))
    assert [caption.partition(":")[0] for caption in captions(player)[1:]] == [
        "page table",
        "DRAM",
        "the program",
    ]


def test_a_remapped_page_is_refused_where_the_check_says() -> None:
    host, vault = server()
    host.adversary.remap(vault.guest, vault.address(TRIES), vault.physical("vault_secret"))
    last = captions(follow(host, vault))[-1]
    home = vault.address("vault_secret") & -PAGE
    assert last == f"EPCM.ENCLAVEADDRESS: the EPC page belongs at {home:#x} (REFUSED)"


def test_what_lies_behind_a_refusal_is_never_reached() -> None:
    host, vault = server()
    place = vault.physical("vault_secret")
    host.adversary.evict(place)
    host.adversary.remap(vault.guest, vault.address(TRIES), place)
    svg = follow(host, vault).frames[-1].svg
    assert svg.count("never reached") == 4  # EPCM.R, DRAM, the engine, the program
    assert not host.machine.cache.is_cached(place)


def test_of_two_broken_rules_the_first_refuses() -> None:
    host, vault = server()
    door = vault.guest.base + vault.program.threads[0].tcs
    place = host.adversary.hpa(vault.guest, door)
    host.adversary.remap(vault.guest, vault.address(TRIES), place)
    assert captions(follow(host, vault))[-1].startswith("EPCM.PT: the EPC page is of type TCS")


def test_no_engine_stands_before_ordinary_memory() -> None:
    host, vault = server("sgx-tme", "ELRANGE.EPC")
    page = host.host.frames.take()
    host.adversary.write(page, (77).to_bytes(8, "little"))
    host.adversary.remap(vault.guest, vault.address(TRIES), page)
    words = captions(follow(host, vault))
    assert "MEM.ENCRYPTION" not in " ".join(words)
    assert words[-1].startswith(f"the program: at {vault.address(TRIES):#x} stands 4d")


def test_a_check_that_is_off_is_shown_as_such() -> None:
    host, vault = server("sgx-tme", "EPCM.ENCLAVEADDRESS")
    host.adversary.remap(vault.guest, vault.address(TRIES), vault.physical("vault_secret"))
    words = captions(follow(host, vault))
    assert any("it would be refused (check is OFF)" in caption for caption in words)
    assert "REFUSED" not in " ".join(words)
    secret = recorded.plaintext(host, vault, "vault_secret", 8)
    assert secret.hex(" ") in words[-1]


@pytest.mark.parametrize("name", ["EPCM.VALID", "EPCM.PT", "EPCM.R", "EPCM.PENDING", "ELRANGE.EPC"])
def test_each_check_that_is_off_has_a_stage_of_its_own(name: str) -> None:
    words = captions(follow(*server("sgx-tme", name)))
    assert any(c.startswith(f"{name}: nobody asks") for c in words)


def test_an_ordinary_page_ends_at_elrange() -> None:
    host, vault = server()
    host.adversary.remap(vault.guest, vault.address(TRIES), host.host.frames.take())
    assert captions(follow(host, vault))[-1].startswith("ELRANGE.EPC: an enclave address is backed")


def test_a_page_taken_away_ends_at_the_page_table() -> None:
    host, vault = server()
    host.adversary.unmap(vault.guest, vault.address(TRIES))
    assert captions(follow(host, vault))[-1].startswith("page table:")
    assert captions(follow(*server()))[-1].startswith("the program:")


def test_a_corrupted_line_ends_at_the_mac() -> None:
    host, vault = server("sgx-mee")
    place = vault.physical(TRIES)
    host.adversary.bus.write(place, bytes(64))
    assert captions(follow(host, vault))[-1].startswith("MEE.MAC:")


def test_a_write_is_judged_by_w() -> None:
    host, vault = server()
    player = recorded.access_funnel(
        host, vault, vault.address(TRIES), lambda: vault.release("0000"), access="write"
    )
    assert any(caption.startswith("EPCM.W: its rights are rw-") for caption in captions(player))


def test_an_access_that_was_not_made_is_not_drawn() -> None:
    host, vault = server()
    with pytest.raises(UsageError, match="made no read"):
        recorded.access_funnel(host, vault, vault.address(TRIES), vault.ping)
    with pytest.raises(UsageError, match="one of read, write, fetch"):
        recorded.access_funnel(host, vault, vault.address(TRIES), vault.ping, access="look")
    with pytest.raises(UsageError, match="own range"):
        recorded.access_funnel(host, vault, vault.guest.arena[0], vault.ping)


def test_following_an_access_leaves_the_tracer_alone() -> None:
    host = Platform("sgx-tme", trace=True)
    vault = host.create_enclave("vault")
    usual, before = host.checks.tracer, len(host.events)
    follow(host, vault)
    assert host.checks.tracer is usual
    assert len(host.events) > before


def test_a_map_has_every_page_and_its_rights() -> None:
    _, vault = server()
    words = recorded.address_map(vault).frame.alt
    for part in (
        "code, owned by enclave r-x",
        "heap, owned by enclave rw-",
        "TCS 0, owned by processor only",
        "SSA 0, owned by enclave rw-",
        "buffer for ecalls, owned by host",
        "its content is not measured",
    ):
        assert part in words


def test_a_map_without_a_tee_shows_the_image() -> None:
    _, process = server("none", evict=False)
    assert "enclave" not in recorded.address_map(process).frame.alt


# What happened while it ran


def test_a_diary_folds_what_repeats() -> None:
    host = Platform("sgx-tme", trace=True)
    vault = host.create_enclave("vault")
    body = recorded.diary(host.events).body
    runs = [(bool(measured), len(list(run))) for measured, run in groupby(MEASURED)]
    assert len(runs) > 2  # pages with content, the heap, and pages with content again
    for measured, length in runs:
        assert f"<td>{length} x EADD{' + EEXTEND' * measured}</td>" in body
    assert vault.mrenclave is not None
    assert vault.mrenclave.hex()[:16] in body
    before = len(host.events)
    vault.ping()
    body = recorded.diary(host.events[before:]).body
    assert [word in body for word in ("EENTER", "EEXIT", "ECREATE")] == [True, True, False]


def test_a_register_that_holds_the_secret_is_marked() -> None:
    secret = bytes(range(32))
    rax = int.from_bytes(secret[8:16], "little")
    body = recorded.register_table({"a": {"rax": rax, "rbx": 1}, "b": {"rax": 3}}, secret).body
    assert f"<td><b>► {rax:x}</b></td><td>3</td>" in body
    assert "rbx" not in body
    assert "arrow" not in recorded.register_table({"a": {"rax": 1}}).body


def test_registers_of_a_debug_enclave_are_read_from_its_save_area() -> None:
    host = Platform("sgx-tme")
    vault = host.create_enclave("vault", debug=True)
    seen: list[dict[str, int]] = []

    def look(registers: dict[str, int]) -> None:
        seen.append(recorded.saved_registers(host, vault))

    with host.adversary.interrupting(vault.guest, 50, look, at_most=1):
        vault.make_secret("2718")
    assert vault.guest.base <= seen[0]["rip"] < vault.guest.base + vault.program.image.size
    assert seen[0]["rsp"] in range(
        *(vault.guest.base + at for at in vault.program.threads[0].stack)
    )


def test_a_growing_bitmap_ends_complete() -> None:
    player = recorded.growing_bitmap([1, 0] * 8, 4)
    assert len(player) == 5
    assert player.frames[0].alt == "Row by row: ???? ???? ???? ????"
    assert player.frames[-1].alt == "Row by row: #.#. #.#. #.#. #.#."
    with pytest.raises(UsageError, match="at least one bit"):
        recorded.growing_bitmap([], 4)


def test_plaintext_is_what_the_program_sees() -> None:
    host, vault = server()
    assert recorded.plaintext(host, vault, TRIES, 4) == bytes([3, 0, 0, 0])


def test_a_grid_has_headings_and_one_cell_for_each() -> None:
    table = grid("<t>", ("a", "b"), [("<x>", "y")], marked=[(0, 1)], note="n")
    assert repr(table) == "Table(<t>)"
    assert '<th scope="row">&lt;x&gt;</th><td><b>► y</b></td>' in table.body
    with pytest.raises(UsageError, match="2 cells"):
        grid("t", ("a", "b"), [("x",)])


def test_page_types_are_named() -> None:
    kinds = {page.page_type for page in IMAGE.pages}
    assert kinds == {PageType.REG, PageType.TCS}
    strip = recorded.measurement_strip(IMAGE)
    door = next(page.offset for page in IMAGE.pages if page.page_type == PageType.TCS)
    said = f"EADD: page at offset {door:#x}: TCS"
    assert any(frame.caption.startswith(said) for frame in strip.frames)
