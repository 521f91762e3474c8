"""The scenes: well-formed, stable, inside their frame, and no text over another."""

from __future__ import annotations

import base64
import re
import struct
import zlib
from fnmatch import fnmatchcase
from functools import cache
from itertools import combinations, pairwise
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attest.forge import TD, Forge
from attest.oracle import forged
from tee_sim.attest.results import AppraisalCheck, AttestationResult
from tee_sim.attest.vbs import RULES
from tee_sim.attest.verifier import verify_quote
from tee_sim.checks import Check
from tee_sim.errors import UsageError
from tee_sim.tees import TEES
from tee_sim.view import (
    Group,
    Picture,
    Player,
    Stage,
    bitmap,
    card,
    chain_of_trust,
    changed_blocks,
    check_card,
    funnel,
    matrix_table,
    memory_map,
    memory_picture,
    page_walk,
    record_strip,
    sequence,
    towers,
    two_screens,
)
from tee_sim.view.palette import owner_styles
from tee_sim.view.png import gray_png
from tee_sim.view.scene_memory import amount
from tee_sim.view.scene_trust import BESIDE, CHAINS
from tee_sim.view.text import text_width, wrap

PAGE = 4096
SVG = "{http://www.w3.org/2000/svg}"
LONG = "the kernel changed the entry that maps this page a moment ago and says nothing of it; " * 3


def regions(word: str = "") -> list[tuple[str, int, int, str, str]]:
    return [
        ("host kernel" + word, 0, 256 * PAGE, "host", "its own page tables" + word),
        ("SECS", 256 * PAGE, PAGE, "enclave 1" + word, ""),
        ("code" + word, 257 * PAGE, 3 * PAGE, "enclave 2", LONG),
        ("free", 300 * PAGE, 100, "free", word),
    ]


def stages(word: str = "") -> list[Stage]:
    return [
        Stage("page table" + word, LONG, "info", "Intel SDM" + word),
        Stage("EPCM.VALID", "in use" + word, "pass"),
        Stage("EPCM.ENCLAVESECS" + word, "nobody asks", "off", LONG),
        Stage("EPCM.ENCLAVEADDRESS", "it belongs elsewhere", "refuse", "Intel SDM, EPCM"),
        Stage("DRAM", "", "info"),
    ]


def moments(word: str = "") -> list[tuple[str, str, str]]:
    return [
        ("starts the enclave" + word, "OE_OK\n" * 3, ""),
        (LONG, "ff " * 64 + word, word),
        ("waits", "", LONG + word),
    ]


PARTIES = ("user <far away>", "host", "enclave")


def messages(word: str = "") -> list[tuple[object, ...]]:
    return [
        ("user <far away>", "host", "challenge" + word),
        ("host", "user <far away>", LONG + word, True),
        ("enclave", "enclave", LONG + word),
        ("user <far away>", "enclave", "secret" + word),
    ]


def groups(word: str = "", pages: int = 3) -> list[Group]:
    out = [Group("ECREATE", "size 0x100000" + word)]
    for i in range(pages):
        text = f"offset {i * PAGE:#x} " + (LONG if i == 1 else word)
        out.append(Group("EADD", text, 16 if i else 40, bytes([i + 1] * 32)))
    return out


def walk(last: int = 0xFEDC_BA98_7063) -> list[tuple[int, int]]:
    tables = [0x1000, 0xFEDC_BA98_7000, 0x3000, 0xFFFF_FFFF_F000]
    return [(table + 8, following | 7) for table, following in pairwise([*tables, last])]


QUOTE = """QUOTE.HEADER QUOTE.SIGNATURE PCK.ROOT PCK.CHAIN PCK.NOT_REVOKED QE_REPORT.SIGNATURE
    QE_REPORT.KEY_BINDING EVIDENCE.CUSTOM_CLAIMS QE_IDENTITY.LEVEL TDX_MODULE.IDENTITY TCB.LEVEL
    CRLS.CURRENT POLICY.DEBUG"""
BOOT = """AK.FORMAT AK.CHAIN EK.FORMAT QUOTE.SIGNATURE LOG.PCRS REPORT.SIGNATURE REPORT.PLATFORM
    REPORT.DATA MEASUREMENT.loader SVN.enclave AK.CURRENT"""


def verified(names: str, word: str = "", **outcomes: bool | None) -> AttestationResult:
    """A Verifier's result in which all checks passed but those given, with _ instead of the dot."""
    checks = [
        AppraisalCheck(name, outcomes.get(name.replace(".", "_"), True), word, LONG + word, "")
        for name in names.split()
    ]
    claims = {"unique_id": b"\x12" * 48, "report_data": word}
    return AttestationResult("", (), tuple(checks), claims)


def scenes(word: str = "") -> dict[str, Picture | Player]:
    changed = changed_blocks(bytes(4096), bytes(100) + b"\1" + bytes(3995))
    return {
        "memory": memory_map(regions(word), "m"),
        "funnel": funnel(stages(word), "f"),
        "passes": funnel([*stages(word)[:3], Stage("DRAM", LONG, "info")], "f"),
        "walk": page_walk(0x7FFF_FFFF_FFFF, walk(), "w"),
        "missing": page_walk(0x4000_0123, [*walk()[:2], (0x3010, 0)], "w" + word),
        "screens": two_screens(moments(word), "s"),
        "sequence": sequence(PARTIES, messages(word), "q"),
        "towers": towers({f"{word}{tee.title}": tee.trusted for tee in TEES.values()}),
        "records": record_strip(groups(word), "r"),
        "many": record_strip(groups(word, 80), "r"),
        "bytes": memory_picture([("before" + word, bytes(4096), None), (LONG, b"x", changed)] * 2),
        "quote": chain_of_trust(verified(QUOTE, word), "q" + word),
        "boot": chain_of_trust(verified(BOOT, word, REPORT_SIGNATURE=False), "v"),
        "bits": bitmap("01?1" * 16, 16, "b" + word, truth="0111" * 16),
    }


def drawings(scene: Picture | Player) -> list[ElementTree.Element]:
    frames = scene.frames if isinstance(scene, Player) else [scene.frame]
    return [ElementTree.fromstring(frame.svg) for frame in frames]


def boxes(svg: ElementTree.Element) -> list[tuple[str, float, float, float, float]]:
    """Every text with its left, top, right and bottom edge."""
    out = []
    for node in svg.iter(f"{SVG}text"):
        text, size = node.text or "", float(node.get("font-size", "0"))
        mono = "monospace" in node.get("font-family", "")
        width = text_width(text, size, mono=mono, bold=node.get("font-weight") == "700")
        shift = {"middle": width / 2, "end": width}.get(node.get("text-anchor", ""), 0)
        x, y = float(node.get("x", "0")) - shift, float(node.get("y", "0"))
        out.append((text, x, y - 0.8 * size, x + width, y + 0.22 * size))
    return out


def assert_inside(svg: ElementTree.Element) -> None:
    _, _, width, height = map(float, svg.get("viewBox", "").split())
    for text, left, top, right, bottom in boxes(svg):
        assert left >= 0, text
        assert right <= width, text
        assert top >= 0, text
        assert bottom <= height, text


@pytest.mark.parametrize("name", scenes())
def test_no_text_covers_another(name: str) -> None:
    for svg in drawings(scenes()[name]):
        assert_inside(svg)
        for one, two in combinations(boxes(svg), 2):
            apart = one[3] <= two[1] or two[3] <= one[1] or one[4] <= two[2] or two[4] <= one[2]
            assert apart, (one, two)


@pytest.mark.parametrize("name", scenes())
def test_text_is_large_enough(name: str) -> None:
    for svg in drawings(scenes()[name]):
        assert svg.get("width") == "900"
        assert all(float(node.get("font-size", "0")) >= 12 for node in svg.iter(f"{SVG}text"))


@pytest.mark.parametrize("name", scenes())
def test_two_builds_are_alike(name: str) -> None:
    one, two = scenes()[name], scenes()[name]
    assert one.to_html() == two.to_html()
    assert repr(one) == repr(two)
    assert " id=" not in one.to_html()


@pytest.mark.parametrize("name", scenes())
def test_all_frames_of_a_scene_have_one_size(name: str) -> None:
    assert len({svg.get("viewBox") for svg in drawings(scenes()[name])}) == 1


HOSTILE = st.one_of(
    st.text(),
    st.sampled_from(["</svg><script>x</script>", "\"'<>&", "\0\x1b\u202e\ud800", "]]>", "W" * 300]),
)


@cache
def calm_tags() -> dict[str, set[str]]:
    """The kinds of element that each scene is drawn with."""
    return {
        name: {node.tag for node in drawings(scene)[0].iter()} for name, scene in scenes().items()
    }


@settings(max_examples=12, deadline=None)
@given(word=HOSTILE)
def test_hostile_labels_cannot_break_a_drawing(word: str) -> None:
    for name, scene in scenes(word).items():
        for svg in drawings(scene):
            assert_inside(svg)
            drawn = {node.tag for node in svg.iter()}
            assert drawn <= calm_tags()[name] | {f"{SVG}text", f"{SVG}path"}


def outcome(verdict: str, **more: Any) -> dict[str, Any]:
    return {"verdict": verdict, "check": "", "layers": [], "variant": "", "detail": "", **more}


def matrix(word: str = "") -> dict[str, Any]:
    first = {
        "none": outcome("succeeds", detail=word),
        "a": outcome("blocked", check="EPCM.VALID" + word, layers=["EPCM.VALID", "TLB.FLUSH"]),
        "b": outcome("ciphertext", variant="patched", unverified=True),
    }
    attack = {"name": "read" + word, "row": 1, "reference": word, "title": "Reads" + word}
    rest = {"none": outcome("detected"), "a": outcome("not-applicable")}
    return {
        "platforms": ["none", "a", "b"],
        "attacks": [{**attack, "outcomes": first}, {**attack, "row": 2, "outcomes": rest}],
    }


def fragment(html: str) -> ElementTree.Element:
    return ElementTree.fromstring(html.replace("<wbr>", ""))


def test_the_matrix_has_a_word_and_a_symbol_in_each_cell() -> None:
    table = fragment(matrix_table(matrix()).body)
    cells = ["".join(cell.itertext()) for cell in table.iter("td")]
    assert len(cells) == 6
    for cell, words in zip(cells, ["✗ succeeds", "■ blocked", "≈ ciphertext"], strict=False):
        assert cell.replace("\xa0", " ").startswith(words)
    assert "Behind it: TLB.FLUSH." in cells[1]
    assert "(unverified)" in cells[2]
    assert cells[5] == "not run"
    scopes = [cell.get("scope") for cell in table.iter("th")]
    assert scopes == ["col"] * 4 + ["row"] * 2
    assert len(list(table.iter("li"))) == 5


def test_tables_and_cards_do_without_a_style_sheet() -> None:
    for made in (matrix_table(matrix()), card("note", "x", [("a", "b")])):
        bare = fragment(re.sub("<style>.*?</style>", "", made.body, flags=re.DOTALL))
        assert "background:#fff" in bare.get("style", "")
        for cell in (*bare.iter("td"), *bare.iter("th")):
            assert "text-align:left" in cell.get("style", "")


def test_an_unknown_verdict_is_refused() -> None:
    data = {"platforms": ["a"], "attacks": [{"name": "x", "outcomes": {"a": outcome("maybe")}}]}
    with pytest.raises(UsageError, match="maybe"):
        matrix_table(data)


@given(word=HOSTILE)
def test_hostile_words_cannot_break_a_table_or_a_card(word: str) -> None:
    fragment(matrix_table(matrix(word), word).body)
    fragment(card("adversary", word, [word, (word, word)]).body)


def test_a_card_groups_its_pairs() -> None:
    made = card("adversary", "Kernel", [("controls", "memory"), ("wants", "it"), "A sentence."])
    assert repr(made) == "Adversary(Kernel)"
    body = fragment(made.body)
    assert len(list(body.iter("dl"))) == 1
    assert [node.text for node in body.iter("dt")] == ["controls", "wants"]


def test_a_check_explains_itself() -> None:
    made = check_card(Check("EPCM.VALID", "This slot is empty", "Use of a free page.", "SDM <3D>"))
    assert repr(made) == "Check(This slot is empty)"
    words = "".join(fragment(made.body).itertext())
    assert "nameEPCM.VALID" in words
    assert "stopsUse of a free page." in words
    assert "SDM <3D>" in words


def test_an_unknown_kind_of_card_is_refused() -> None:
    with pytest.raises(UsageError, match="adversary, prediction"):
        card("villain", "x")


def test_regions_that_overlap_are_refused() -> None:
    with pytest.raises(UsageError, match="overlap at 0x800"):
        memory_map([("a", 0, 0x1000, "host", ""), ("b", 0x800, 0x1000, "host", "")])


def test_an_amount_of_memory_is_short() -> None:
    assert amount(PAGE) == "1 page, 4 KiB"
    assert amount(64) == "64 bytes"
    assert amount(100_634_112) == "about 96 MiB"
    assert amount(196_544) == "about 192 KiB"
    assert amount(0x3FF_F000) == "16383 pages, about 64 MiB"


def test_a_region_below_a_page_has_no_square() -> None:
    small = memory_map([("MAC", 0, 64, "engine", "")]).frame.svg
    assert "h8v8h-8z" not in small
    assert "h8v8h-8z" in memory_map([("page", 0, PAGE, "engine", "")]).frame.svg


def test_owners_differ_in_colour_and_pattern() -> None:
    styles = owner_styles(["host", "a", "b", "c", "d", "e", "f", "g", "free"])
    assert len({style.colour for style in styles.values()}) == 9
    assert len({style.pattern for style in styles.values()}) == 9


def test_the_funnel_ends_at_the_first_refusal() -> None:
    player = funnel(stages(), "f")
    assert len(player) == 5
    assert "REFUSED" in player.frames[-1].caption
    assert "never reached" in player.frames[-1].svg
    assert "The access does not happen." in player.frames[-1].svg
    assert "The access completes." in funnel(stages()[:3]).frames[-1].svg


def test_the_funnel_shows_a_long_source_whole() -> None:
    source = "A specification with a long name, " * 4 + "last words"
    shown = funnel([Stage("MEM.ENCRYPTION", "encrypts", "pass", source)]).frames[-1].svg
    assert "last words" in shown
    assert "…" not in shown


def test_the_funnel_does_not_tell_in_advance() -> None:
    first = funnel(stages(), "f").frames[0]
    assert "REFUSED" not in first.svg + first.alt + first.caption
    assert "never reached" not in funnel(stages(), "f").frames[3].svg


def test_a_walk_reads_one_table_after_the_other() -> None:
    gva = 0x4000_4010
    player = page_walk(
        gva, [(0x2000, 0x3007), (0x3008, 0x4007), (0x4000, 0x5007), (0x5020, 0x9067)]
    )
    assert len(player) == 5
    assert "0x9010" not in "".join(f.svg + f.caption + f.alt for f in player.frames[:4])
    assert player.frames[4].caption.endswith("names the page at 0x9000. The byte is at 0x9010.")
    assert "index 4" in player.frames[0].svg


def test_a_walk_shows_an_entry_with_all_its_bits() -> None:
    entry = 0x8000_0000_0A00_5067
    assert f"{entry:#x}" in page_walk(0x4000_0000, [(0x2000, entry)]).frames[-1].svg


def test_a_walk_ends_at_an_entry_that_is_not_present() -> None:
    player = page_walk(0x4000_0000, [(0x2000, 0x3007), (0x3008, 0)])
    assert player.frames[-1].caption.endswith("so the processor raises a page fault.")
    with pytest.raises(UsageError, match="not 0"):
        page_walk(0, [])


def test_a_stage_with_an_unknown_verdict_is_refused() -> None:
    with pytest.raises(UsageError, match="pass, refuse, off, info"):
        Stage("x", "y", "perhaps")  # type: ignore[arg-type]


def test_a_group_shows_its_digest_if_it_has_one() -> None:
    strip = record_strip([Group("ECREATE", "a"), Group("EADD", "b", 1, b"\3" * 32)], "r")
    assert strip.frames[0].caption == "ECREATE: a."
    assert strip.frames[1].caption.endswith("1 EEXTEND record. The digest so far is 03030303…0303.")
    with pytest.raises(UsageError, match="at least one Group"):
        record_strip([])


def test_a_long_measurement_is_folded() -> None:
    player = record_strip(groups("", 80), "r")
    assert len(player) == 12
    folded = [frame.caption for frame in player.frames if "more of the same" in frame.caption]
    assert len(folded) == 1
    assert folded[0].startswith("70 more of the same kind of group, with 1120 EEXTEND records.")
    assert len(record_strip(groups("", 80), "r", rows=20)) == 20


def test_the_png_holds_the_bytes() -> None:
    data = bytes(range(200))
    png = gray_png(data, 64)
    assert struct.unpack(">II", png[16:24]) == (64, 4)
    start = png.index(b"IDAT")
    size = struct.unpack(">I", png[start - 4 : start])[0]
    raw = zlib.decompress(png[start + 4 : start + 4 + size])
    pixels = b"".join(raw[i + 1 : i + 65] for i in range(0, len(raw), 65))
    assert pixels == data.ljust(256, b"\xff")


def test_changed_blocks_are_found_and_outlined() -> None:
    before, after = bytes(256), bytes(40) + b"x" + bytes(215)
    assert changed_blocks(before, after) == {2}
    assert changed_blocks(before, before[:16]) == set(range(1, 16))
    picture = memory_picture([("after", after, {2})])
    assert "1 of 16 blocks changed" in picture.frame.alt
    images = re.findall(r'href="data:image/png;base64,([^"]+)"', picture.frame.svg)
    assert base64.b64decode(images[0]) == gray_png(after, 64)


def test_a_bitmap_counts_what_is_wrong() -> None:
    picture = bitmap([1, 0, None, True], 2, truth="1110")
    assert picture.frame.alt.startswith("1 of 4 bits right, 2 wrong")
    with pytest.raises(UsageError, match="not a bit"):
        bitmap([2], 1)
    with pytest.raises(UsageError, match="true bitmap has 3"):
        bitmap("01", 2, truth="011")


@given(text=st.text(), width=st.integers(40, 800))
def test_wrapped_lines_fit_and_lose_nothing(text: str, width: int) -> None:
    lines = wrap(text, width, 14)
    assert all(text_width(line, 14) <= width for line in lines)
    assert "".join("".join(lines).split()) == "".join(text.split())


def test_towers_that_contradict_each_other_are_a_usage_error() -> None:
    with pytest.raises(UsageError, match="no order suits"):
        towers({"one": ("a", "b"), "another": ("b", "a")})
    with pytest.raises(UsageError, match="at least one"):
        towers({})


def trust(picture: Picture) -> tuple[str, int]:
    """What is said of a chain, and how many of its members are vouched for."""
    return picture.frame.alt, picture.frame.svg.count('stroke-width="2"')


def test_nobody_vouches_for_what_is_below_a_broken_arrow() -> None:
    for broken, left in {"": 6, "QUOTE_SIGNATURE": 4, "PCK_CHAIN": 1, "PCK_ROOT": 0}.items():
        for outcome, word in ((False, "BROKEN"), (None, "not checked")):
            result = verified(QUOTE, **({broken: outcome} if broken else {}))
            alt, trusted = trust(chain_of_trust(result))
            assert trusted == left
            assert alt.count(f"{word}, {broken.replace('_', '.', 1)}") == bool(broken)


def test_what_is_beside_the_chain_breaks_no_arrow() -> None:
    result = verified(QUOTE, **{"TCB_LEVEL": False, "PCK_NOT_REVOKED": None, "POLICY_DEBUG": False})
    alt, trusted = trust(chain_of_trust(result))
    assert trusted == 6
    for words in ("TCB level: BROKEN, TCB.LEVEL", "lists: not checked, PCK", "policy: BROKEN, P"):
        assert words in alt


def test_a_chain_shows_only_what_was_looked_at() -> None:
    alt, trusted = trust(chain_of_trust(verified(BOOT)))
    assert (trusted, "TCB level" in alt, "boot and its settings: holds" in alt) == (6, False, True)
    assert trust(chain_of_trust(verified(BOOT.replace("REPORT.DATA", ""))))[1] == 5
    with pytest.raises(UsageError):
        chain_of_trust(verified("POLICY.DEBUG"))


def test_every_check_of_a_verifier_is_drawn_somewhere() -> None:
    patterns = [
        p for some in (*CHAINS.values(), BESIDE) for link in some for p in link.checks.split()
    ]
    quote, collateral, root, at = forged(Forge(TD, 4))
    names = {check.name for check in verify_quote(quote, collateral, root=root, at=at).checks}
    names |= {name if "." in name else f"{name}.CHAIN" for name in RULES}  # of VBS
    assert {n for n in names if not any(fnmatchcase(n, p) for p in patterns)} == set()
