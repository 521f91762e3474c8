"""A small stand-in for Intel's signing tool: it writes signed enclave files, and says MRENCLAVE.

It shares nothing with `tee_sim.abi.signed` but the description of the format: the tables are packed
by hand here, and MRENCLAVE is the digest of the records of the pages that were *planned*, not of
those that were read back. No file of Intel's own tool could be had from a package registry, so
that such a file gives the same result is unverified.

The file, and where its parts are loaded::

    file 0x0000  headers, relocations         R   0x0000
         0x1000  code                         RX  0x1000, two pages, and a page of zeros
         0x3d00  globals, dynamic section     RW  0x4d00, to 0x5800 from the file, zeros to 0x8800
         0x5000  section names, metadata, section headers
    layout: heap, the first thread, threads that stay, one that is removed after EINIT, threads that
    are added after EINIT, reserved memory, and a gap up to the end of the enclave
"""

import hashlib
from dataclasses import dataclass, field
from struct import pack, pack_into

from assembly import leave
from tee_sim.abi.sgx import AttributeFlags, Attributes, AttributesMask, MiscSelect
from tee_sim.monitors.sgx.sigstruct import load_signing_key, sign

PAGE = 4096
MAGIC = 0x86A80294635D0E4C
R, W, X, TCS_PAGE, REG = 1, 2, 4, 0x100, 0x200
EADD, EEXTEND, EREMOVE, POST_ADD, POST_REMOVE, DYN_THREAD = 1, 2, 4, 8, 16, 32

CODE, GLOBALS, GLOBAL_DATA = 0x1000, 0x4D00, 0x4E00
PATCHED = b"global data that the signing tool wrote"
STACK_PAGES = 2
MISC = MiscSelect(exinfo=True)
TABLES = 1888
"""Offset of the tables in the metadata."""


@dataclass
class SignedFile:
    """What was written, and what has to be read.

    Attributes:
        data: the file.
        pages: those that are added: (offset, SECINFO.FLAGS, content, whether it is measured).
        at: named places in the file, in bytes.
    """

    data: bytes
    pages: list[tuple[int, int, bytes, bool]]
    mrenclave: bytes
    at: dict[str, int]

    def changed(self, place: str, value: bytes, plus: int = 0) -> bytes:
        """The file with some bytes overwritten."""
        start = self.at[place] + plus
        return self.data[:start] + value + self.data[start + len(value) :]


@dataclass
class Layout:
    """Rows of the layout table, and beside them the pages that they stand for."""

    rva: int
    rows: list[bytes] = field(default_factory=list)
    pages: list[tuple[int, int, bytes, bool]] = field(default_factory=list)

    def region(
        self,
        kind: int,
        count: int,
        attributes: int = 0,
        flags: int = 0,
        fill: int = 0,
        content: tuple[int, bytes] | None = None,
        tcs: bytes = b"",
    ) -> None:
        """Append a region; ``content`` is its place in the metadata and its bytes."""
        size, place = (len(content[1]), content[0]) if content else (fill, 0)
        row = pack("<HHIQIIQ", kind, attributes, count, self.rva, size, place, flags)
        self.rows.append(row)
        page = tcs or (content[1].ljust(PAGE, b"\0") if content else pack("<I", fill) * 1024)
        if attributes & EADD and flags:
            measured = bool(attributes & EEXTEND) or (content is not None and not tcs)
            self.pages += [(self.rva + PAGE * n, flags, page, measured) for n in range(count)]
        self.rva += PAGE * count

    def thread(self, template: int, also: int = 0, dynamic: bool = False) -> None:
        """Append a thread: guard, stack, guard, TCS, save area, guard, thread data."""
        start, shift = self.rva, 10 if dynamic else 0
        how = POST_ADD | DYN_THREAD if dynamic else EADD | EEXTEND | also
        tcs = start + PAGE * (2 + STACK_PAGES)
        ossa, data = tcs + PAGE, tcs + 4 * PAGE
        content = tcs_bytes(ossa, data)
        self.region(10, 1)
        self.region(8 + shift, STACK_PAGES, how, REG | R | W, fill=0xCCCCCCCC)
        self.region(10, 1)
        place = (template, tcs_bytes(PAGE, 4 * PAGE)[:72])
        self.region(4 + shift, 1, how, TCS_PAGE, content=place, tcs=content)
        self.region(6 + shift, 2, how, REG | R | W)
        self.region(10, 1)
        self.region(5 + shift, 1, how, REG | R | W)

    def again(self, template: int, times: int, also: int = 0, dynamic: bool = False) -> None:
        """Append a thread and a group that repeats it."""
        first = len(self.rows)
        self.thread(template, also, dynamic)
        count, step = len(self.rows) - first, 9 * PAGE
        repeated = Layout(self.rva)
        for _ in range(times):
            repeated.thread(template, also, dynamic)
        kind = 0x1000 | (19 if dynamic else 9)
        self.rows.append(pack("<HHIQ16x", kind, count, times, step))
        self.pages += repeated.pages
        self.rva = repeated.rva


def tcs_bytes(ossa: int, data: int) -> bytes:
    """A TCS page."""
    head = pack("<QQQIIQQQQII", 0, 0, ossa, 0, 2, CODE, 0, data, data, 0xFFFFFFFF, 0xFFFFFFFF)
    return head.ljust(PAGE, b"\0")


def signed_file(
    code: bytes = leave(),
    *,
    text_relocations: bool = False,
    shift: int | None = None,
    versions: tuple[tuple[int, int], ...] = ((2, 4), (1, 4)),
    enclavehash: bytes | None = None,
) -> SignedFile:
    """Write a file.

    Args:
        code: what every thread runs.
        text_relocations: say that the loader has to make relocated pages writable.
        shift: put the enclave there inside an ELRANGE of four times its size; None: fill it.
        versions: of the metadata; one for each.
        enclavehash: what to sign instead of the right MRENCLAVE.
    """
    body, relocated = _program(code, text_relocations)
    start = TABLES + (32 if shift is not None else 0)
    layout = _layout(start)
    size = 1 << (layout.rva - 1).bit_length()
    if layout.rva < size:
        layout.region(10, (size - layout.rva) // PAGE, EADD)  # that alone adds nothing
    # Loading order: the segments, of the file as it is after patching; then the layout. The place
    # of the section headers is not in `body` yet: patching wipes it out again.
    memory = bytearray(body)
    memory[0x3E00 : 0x3E00 + len(PATCHED)] = PATCHED
    globals_page = bytes(0xD00) + memory[0x3D00:0x4000]
    pages = [
        (0x0000, REG | R, bytes(memory[:0x600]).ljust(PAGE, b"\0"), True),
        (0x1000, REG | R | X | (W if 1 in relocated else 0), bytes(memory[0x1000:0x2000]), True),
        (0x2000, REG | R | X | (W if 2 in relocated else 0), bytes(memory[0x2000:0x3000]), True),
        (0x3000, REG | R | X, bytes(PAGE), True),
        (0x4000, REG | R | W, bytes(globals_page), True),
        (0x5000, REG | R | W, bytes(memory[0x4000:0x4800]).ljust(PAGE, b"\0"), True),
        *((at, REG | R | W, bytes(PAGE), True) for at in (0x6000, 0x7000, 0x8000)),
        *layout.pages,
    ]
    pages = [(offset + (shift or 0), *rest) for offset, *rest in pages]
    if shift is not None:
        pages = [(o, f, _moved(c, shift) if f == TCS_PAGE else c, m) for o, f, c, m in pages]
    mrenclave = measured(size if shift is None else 4 * size, 1, pages)
    places: dict[str, int] = {}
    note = b"".join(
        _metadata(version, layout, size, shift, enclavehash or mrenclave, places)
        for version in versions
    )
    return _assemble(body, note, pages, mrenclave, places)


def _moved(tcs: bytes, shift: int) -> bytes:
    """The signing tool writes a TCS for where the enclave will be in ELRANGE."""
    page = bytearray(tcs)
    for offset in (16, 32, 48, 56):
        value = int.from_bytes(page[offset : offset + 8], "little") + shift
        pack_into("<Q", page, offset, value)
    return bytes(page)


def measured(size: int, ssaframesize: int, pages: list[tuple[int, int, bytes, bool]]) -> bytes:
    """MRENCLAVE, from the SDM's records."""
    digest = hashlib.sha256(pack("<8sIQ44x", b"ECREATE", ssaframesize, size))
    for offset, flags, content, extended in pages:
        digest.update(pack("<8sQQ40x", b"EADD", offset, flags))
        for chunk in range(0, PAGE if extended else 0, 256):
            digest.update(pack("<8sQ48x", b"EEXTEND", offset + chunk))
            digest.update(content[chunk : chunk + 256])
    return digest.digest()


def _layout(start: int) -> Layout:
    layout = Layout(0x9000)
    layout.region(1, 2, EADD, REG | R | W)
    layout.region(2, 1, EADD | POST_REMOVE | POST_ADD, REG | R | W)
    layout.region(3, 4, POST_ADD, REG | R | W)
    layout.thread(start)
    layout.again(start, 2)
    layout.thread(start, also=EREMOVE)
    layout.again(start, 3, dynamic=True)
    layout.region(20, 1, EADD, REG | R | W | X)
    layout.region(23, 2, EADD, REG | R | W, content=(start + 80, b"not measured? yes, it is"))
    # The second page of that region holds no content, and so zeros.
    last = layout.pages.pop()
    layout.pages.append((last[0], last[1], bytes(PAGE), True))
    return layout


def _program(code: bytes, text_relocations: bool) -> tuple[bytearray, set[int]]:
    """Headers and segments, and the numbers of the pages that have text relocations."""
    body = bytearray(0x4800)
    ident = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    body[:64] = ident + pack("<HHIQQQIHHHHHH", 3, 62, 1, CODE, 64, 0, 0, 64, 56, 7, 64, 0, 0)
    segments = [  # type, rights (X 1, W 2, R 4), offset, address, bytes in the file, in memory
        (1, 4, 0, 0, 0x600, 0x600),
        (1, 5, 0x1000, 0x1000, 0x2000, 0x3000),
        (1, 6, 0x3D00, GLOBALS, 0xB00, 0x3B00),
        (2, 6, 0x3D00, GLOBALS, 0x80, 0x80),
        (7, 4, 0x3F00, 0x4F00, 0x10, 0x40),
        (0x6474E552, 4, 0x3D00, GLOBALS, 0x100, 0x100),
        (1, 4, 0, 0x10010, 0, 0),
    ]
    for index, (kind, rights, at, address, filesz, memsz) in enumerate(segments):
        row = pack("<IIQQQQQQ", kind, rights, at, address, address, filesz, memsz, PAGE)
        body[64 + 56 * index : 120 + 56 * index] = row
    # One in the code, one of no kind, one where the file has no content, one in the globals; and,
    # in a table of its own, one across the border of the code's pages.
    relocations = [(0x1100, 8), (0x100, 0), (0x3100, 8), (GLOBAL_DATA, 8), (0x1FFC, 7)]
    body[0x500:0x578] = b"".join(pack("<QQQ", place, kind, 0) for place, kind in relocations)
    tags = [(7, 0x500), (8, 96), (23, 0x560), (2, 24)]
    tags += [(22, 0), (0, 0)] if text_relocations else [(0, 0)]
    body[0x3D00 : 0x3D00 + 16 * len(tags)] = b"".join(pack("<QQ", *tag) for tag in tags)
    body[0x1000 : 0x1000 + len(code)] = code
    body[0x3E00 : 0x3E00 + len(PATCHED)] = b"x" * len(PATCHED)
    return body, {1, 2} if text_relocations else set()


def _metadata(
    version: tuple[int, int],
    layout: Layout,
    size: int,
    shift: int | None,
    enclavehash: bytes,
    places: dict[str, int],
) -> bytes:
    """Head and tables: [ELRANGE], TCS template, content, global data, zeros, patches, layout."""
    attributes = Attributes(flags=AttributeFlags(mode64bit=True), xfrm=0xE7)
    mask = AttributesMask(flags=~2 & (1 << 64) - 1, xfrm=~0xE4 & (1 << 64) - 1)
    signed = attributes.with_(xfrm=3)
    css = sign(
        enclavehash,
        load_signing_key(),
        attributes=signed,
        attributemask=mask,
        miscselect=MISC,
        isvprodid=7,
        isvsvn=3,
    )
    elrange = b""
    if shift is not None:
        base = 0x4000_0000
        elrange = pack("<IIQQQ", TABLES + 8, 24, base + shift, base, 4 * size)
    start = TABLES + len(elrange)
    template = tcs_bytes(PAGE, 4 * PAGE)[:72] if shift is None else b""
    if shift is not None:
        template = _moved(tcs_bytes(PAGE, 4 * PAGE), shift)[:72]
    content = b"not measured? yes, it is"
    data = template.ljust(80, b"\0") + content.ljust(32, b"\0") + PATCHED.ljust(48, b"\0")
    zeros, new = start + len(data), start + 112
    data += bytes(8)
    patches = [(0x3E00, new, len(PATCHED)), (60, zeros, 2), (40, zeros, 8), (62, zeros, 2)]
    at = start + len(data)
    data += b"".join(pack("<QII16x", *patch) for patch in patches) + b"".join(layout.rows)
    tables = pack("<IIII", at, 128, at + 128, 32 * len(layout.rows))
    head = (MAGIC, version[0] << 32 | version[1], start + len(data), 0, 1, 2632, 0, 1, size)
    places.setdefault("patches", at)
    places.setdefault("layout", at + 128)
    places.setdefault("template", start)
    return pack("<QQIIIIIIQ", *head) + attributes.pack() + css.pack() + tables + elrange + data


def _assemble(
    body: bytearray,
    metadata: bytes,
    pages: list[tuple[int, int, bytes, bool]],
    mrenclave: bytes,
    places: dict[str, int],
) -> SignedFile:
    """The rest of the file: the note, the names of sections, their headers, the ELF header."""
    note = pack("<III", 13, len(metadata) + 64, 1) + b"sgx_metadata\0" + metadata + bytes(64)
    names = b"\0.rela.dyn\0.note.sgxmeta\0.shstrtab\0.rela.plt\0"
    at = {"start": 0, "names": 0x5000, "note": 0x5040}
    at["metadata"] = at["note"] + 25
    at |= {name: at["metadata"] + place for name, place in places.items()}
    at["sections"] = at["note"] + len(note)
    headers = [
        bytes(64),
        pack("<IIQQQQIIQQ", 1, 4, 2, 0x500, 0x500, 96, 0, 0, 8, 24),
        pack("<IIQQQQIIQQ", 11, 7, 0, 0, at["note"], len(note), 0, 0, 1, 0),
        pack("<IIQQQQIIQQ", 25, 3, 0, 0, at["names"], len(names), 0, 0, 1, 0),
        pack("<IIQQQQIIQQ", 35, 4, 2, 0x560, 0x560, 24, 0, 0, 8, 24),
    ]
    pack_into("<Q", body, 40, at["sections"])
    pack_into("<HH", body, 60, len(headers), 3)
    data = bytes(body).ljust(at["names"], b"\0") + names.ljust(64, b"\0") + note
    return SignedFile(data + b"".join(headers), pages, mrenclave, at)
