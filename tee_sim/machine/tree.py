"""The counter tree of client SGX: encryption, integrity and freshness to a root on the die.

Each 64-byte line of data has a *version*: a counter that goes up each time the line is written.
The version goes into the keystream, so nothing is ever encrypted twice alike, and into the MAC, so
an old line does not fit a new version. But versions are too many to keep on the die. They lie in
DRAM, in lines of eight with a MAC whose nonce is a counter in a line above, and so on upwards::

      on the die    root   one counter for 64 pages    <- the bus cannot reach it, so an old
      ------------- |----------------------------          tree does not fit it any more
      in DRAM       L2     [ c0 c1 ... c7 | MAC ]      <- 64 pages
                    |        8 more
                    L1     [ c0 c1 ... c7 | MAC ]      <-  8 pages
                    |        8 more
                    L0     [ c0 c1 ... c7 | MAC ]      <-  1 page
                    |        8 more
                 versions  [ v0 v1 ... v7 | MAC ]      <-  8 lines of data
                    |        8 more
                  data     64 bytes of ciphertext + MAC

Two rules make it work. *Upwards:* whoever changes a line adds one to its counter in the line
above, up to the root. *Downwards:* a line counts only if its MAC fits its counter in the line
above, from the root on. ``MEE.TREE`` refuses a counter line, ``MEE.MAC`` a data line.

A counter of zero says "never written": the line below is then taken as zero, and DRAM is not
even read. So the tree needs no initialisation, a page that was never written reads as zeros, and
nobody can forge one, because zero is authenticated by the line above like any other value.

The metadata region in DRAM, N being the number of protected pages (`CounterTree.metadata_ranges`
computes the addresses; each region starts where the one before ends)::

      MAC        512 N bytes        64 MACs of 8 bytes for each page
      versions   512 N              8 lines for each page
      L0          64 N              1 line for each page
      L1          64 ceil(N/8)      1 line for 8 pages
      L2          64 ceil(N/64)     1 line for 64 pages

A counter line is eight little-endian 64-bit words: the low 56 bits are a counter, the top byte is
one byte of the line's MAC (seven are used, the eighth is zero and must be).

Source: Gueron, "A Memory Encryption Engine Suitable for General Purpose Processors", IACR ePrint
2016/204. Checked against the abstract, and otherwise against summaries by others: a customised
tree mostly in DRAM with a small root on the die, 56-bit counters and MACs, Carter-Wegman, separate
128-bit keys for secrecy and integrity, a 512-bit key for the universal hash, all made at boot.
From memory and unverified: the three levels between versions and root, that the MAC covers
ciphertext and not plaintext, the polynomial of the field, and what happens at an overflow.

Simplified: the engine moves pages, not lines, so all 64 versions of a page go up together, and its
counters by one instead of once per line. There is no on-die cache of tree lines: each access walks
to the root (hardware stops at the first line it still holds). Hardware initialises the tree, ours
needs none. The order of regions, the packing of a line and of nonces are ours.
"""

from __future__ import annotations

from itertools import accumulate
from typing import Final

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes
from numpy.typing import NDArray

from tee_sim.checks import Check, Checks
from tee_sim.errors import MachineCheck, UsageError
from tee_sim.machine.dram import DRAM
from tee_sim.machine.encryption import MEE_MAC, MEE_TREE, MEM_ENCRYPTION, require_page
from tee_sim.machine.entropy import Entropy
from tee_sim.units import CACHE_LINE, PAGE, align_up, is_aligned

Words = NDArray[np.uint64]
Lines = NDArray[np.int64]

MASK: Final = (1 << 56) - 1
"""The largest counter and the largest MAC: both have 56 bits."""

_MASK, _ONE = np.uint64(MASK), np.uint64(1)
_PAGE_LINES = PAGE // CACHE_LINE

_ROWS = ("data",) * 64 + ("versions",) * 8 + ("L0", "L1", "L2")
"""The 75 lines that a page needs, from the leaves upwards."""

_TREE, _L0, _L1, _L2 = 64, 72, 73, 74
"""Where in `_ROWS` the counter lines start, and the rows of the upper three."""

_ABOVE = {"data": "versions", "versions": "L0", "L0": "L1", "L1": "L2", "L2": "on-die root"}


class CounterTree:
    """The memory-encryption engine of client SGX, over one range of protected pages.

    As on hardware, the first failed verification locks the engine ("drop and lock"): every further
    transaction is refused until `reset`. A bus attacker can thus destroy, but not lie.

    Args:
        dram: where ciphertext and metadata go.
        checks: which of MEM.ENCRYPTION, MEE.MAC and MEE.TREE are in force. A check that is off is
            not enforced, but MACs and counters are still kept.
        entropy: where the keys come from, afresh at every `reset`.
        protected: host physical addresses that the engine protects; page-aligned.
        metadata_hpa: where in DRAM the metadata region starts; page-aligned, of
            `metadata_size` bytes, outside ``protected``.

    Raises:
        UsageError: a range is not page-aligned, not in memory, or the two overlap.
    """

    def __init__(
        self, dram: DRAM, checks: Checks, entropy: Entropy, *, protected: range, metadata_hpa: int
    ) -> None:
        _require_layout(dram, protected, metadata_hpa)
        self._checks, self._entropy, self.protected = checks, entropy, protected
        self._dram: Words = np.frombuffer(dram.bytes, np.uint64).reshape(-1, 8)
        """All of DRAM, one row per 64-byte line: a line's number is its address / 64."""
        sizes = _region_lines(len(protected) // PAGE)
        starts = accumulate(sizes.values(), initial=metadata_hpa // CACHE_LINE)
        self._regions = dict(zip(sizes, starts, strict=False))
        """First line of each region of metadata."""
        self._block_offsets = np.arange(0, PAGE, 16, dtype=np.uint64)
        self._first_lines, self._lines_per_page = self._line_numbers()
        self._steps = _steps()
        self.reset()

    @staticmethod
    def metadata_size(protected_size: int) -> int:
        """Bytes of metadata, a multiple of the page size, for ``protected_size`` bytes of data."""
        lines = _region_lines(align_up(protected_size) // PAGE)
        return align_up(sum(lines.values()) * CACHE_LINE)

    def metadata_ranges(self, hpa: int) -> list[tuple[str, int, int]]:
        """What in DRAM belongs to the page at ``hpa``, besides the page: (name, hpa, bytes).

        From the leaves upwards: ``MAC``, ``versions``, ``L0``, ``L1``, ``L2``. The page shares its
        L1 line with 7 other pages and its L2 line with 63.

        Raises:
            UsageError: ``hpa`` is not a protected page.
        """
        page = self._page(hpa)
        leaves = ("MAC", page * 8, 8), ("versions", page * 8, 8)
        nodes = ("L0", page, 1), ("L1", page // 8, 1), ("L2", page // 64, 1)
        return [
            (name, (self._regions[name] + line) * CACHE_LINE, lines * CACHE_LINE)
            for name, line, lines in leaves + nodes
        ]

    @property
    def locked(self) -> bool:
        """Whether a failed verification has locked the engine until `reset`."""
        return self._failure is not None

    def reset(self) -> None:
        """Boot again: new keys, a root of zeros, no lock. What was protected is lost.

        The keys must be new because versions start again: with the old ones, the keystream would
        repeat, and what the bus recorded before would be accepted again.
        """
        take = self._entropy.take
        self._encrypt = _block_cipher(take(16, "MEE confidentiality key"))
        self._pad = _block_cipher(take(16, "MEE integrity key"))
        self._hash = _LineHash(take(CACHE_LINE, "MEE universal hash key"))
        self._root = [0] * -(-len(self.protected) // (64 * PAGE))
        self._failure: MachineCheck | None = None

    def read_page(self, hpa: int) -> bytes:
        """Fetch the page at ``hpa``, verify it up to the root, decrypt it.

        A page that was never written since `reset` reads as zeros.

        Raises:
            MachineCheck: MEE.TREE or MEE.MAC refused, or the engine is locked.
            UsageError: ``hpa`` is not a protected page.
        """
        page = self._page(hpa)
        lines, _, nonces = self._walk(page)
        data = self._data(page)
        versions = nonces[:_TREE]
        if self._checks.on(MEE_MAC):
            macs = self._macs(lines[:_TREE], data, versions)
            if wrong := _wrong_rows(macs, self._data_macs(page), versions):
                raise self._refuse(MEE_MAC, wrong[0], lines, versions)
        if self._checks.on(MEM_ENCRYPTION):
            data = data ^ self._keystream(hpa, versions)
        if np.count_nonzero(versions) < _PAGE_LINES:
            data = data * (versions != 0)[:, None]
        return data.tobytes()

    def write_page(self, hpa: int, plaintext: bytes | memoryview) -> None:
        """Encrypt one page under new versions and store it, with new MACs up to the root.

        The old counters are verified first: an engine that counted on from a replayed version
        would use a keystream twice. The old data is not read. No counter is larger than the
        root's above it, so the root alone says when 56 bits are used up.

        Raises:
            MachineCheck: MEE.TREE refused, the counter overflows, or the engine is locked.
            UsageError: ``hpa`` is not a protected page, or ``plaintext`` is not one page.
        """
        require_page(hpa, plaintext)
        page = self._page(hpa)
        lines, content, nonces = self._walk(page)
        if self._root[page // 64] >= MASK:
            raise self._lock(None, "the root is at 2^56 - 1: counting on would repeat a keystream")
        content[_TREE:] += self._steps[page % 64]
        nonces += _ONE

        content[:_TREE] = np.frombuffer(plaintext, np.uint64).reshape(_PAGE_LINES, 8)
        if self._checks.on(MEM_ENCRYPTION):
            content[:_TREE] ^= self._keystream(hpa, nonces[:_TREE])
        macs = self._macs(lines, content, nonces)
        self._data(page)[:] = content[:_TREE]
        self._data_macs(page)[:] = macs[:_TREE]
        content.view(np.uint8)[_TREE:, 7::8] = macs[_TREE:].view(np.uint8).reshape(-1, 8)
        self._dram[lines[_TREE:]] = content[_TREE:]
        self._root[page // 64] += 1

    def _walk(self, page: int) -> tuple[Lines, Words, Words]:
        """Fetch and verify the 11 counter lines above a page, from the root down.

        Returns:
            For each row of `_ROWS`: its line number, its counters (8, no meaning for data), and
            its nonce, which is its own counter in the line above.

        Raises:
            MachineCheck: MEE.TREE refused one of them, or the engine is locked.
        """
        if self._failure is not None:
            what = f"locked since an earlier failure: {self._failure.args[0]}"
            raise MachineCheck(what, check=self._failure.check)
        lines = self._first_lines + self._lines_per_page * page
        lines[_L1] += page // 8
        lines[_L2] += page // 64
        stored = self._dram.take(lines[_TREE:], axis=0)
        content = np.empty((len(_ROWS), 8), np.uint64)
        counters = np.bitwise_and(stored, _MASK, out=content[_TREE:])
        of_l2 = self._root[page // 64]
        of_l1 = content.item(_L2, page // 8 % 8) if of_l2 else 0
        of_l0 = content.item(_L1, page % 8) if of_l1 else 0
        if not of_l0:  # never written: zero, whatever DRAM holds (and so L1, L2)
            content[: _L1 + (not of_l1) + (not of_l2)] = 0
        nonces = np.empty(len(_ROWS), np.uint64)
        nonces[:_L0] = content[_TREE:_L1].reshape(-1)
        nonces[_L0:] = of_l0, of_l1, of_l2
        if self._checks.on(MEE_TREE):
            macs = self._macs(lines[_TREE:], counters, nonces[_TREE:])
            if wrong := _wrong_rows(macs, _stored_macs(stored), nonces[_TREE:]):
                raise self._refuse(MEE_TREE, _TREE + wrong[-1], lines, nonces)
        return lines, content, nonces

    def _page(self, hpa: int) -> int:
        """Number of the protected page at ``hpa``. Raises UsageError if it is not one."""
        require_page(hpa)
        if hpa not in self.protected:
            raise UsageError(
                f"{hpa:#x} is not protected by this engine; it protects "
                f"{self.protected.start:#x}..{self.protected.stop:#x}"
            )
        return (hpa - self.protected.start) // PAGE

    def _line_numbers(self) -> tuple[Lines, Lines]:
        """For each row of `_ROWS`: its line for page 0, and how far on that of the next page is.

        L1 and L2 lines are shared: their numbers go up once in 8 and in 64 pages.
        """
        at = self._regions
        data, versions = self.protected.start // CACHE_LINE, at["versions"]
        upper = at["L0"], at["L1"], at["L2"]
        first = (*range(data, data + 64), *range(versions, versions + 8), *upper)
        return np.array(first), np.array((64,) * 64 + (8,) * 8 + (1, 0, 0))

    def _data(self, page: int) -> Words:
        """The 64 lines of a page as they are in DRAM: writing here writes DRAM."""
        line = self.protected.start // CACHE_LINE + page * _PAGE_LINES
        return self._dram[line : line + _PAGE_LINES]

    def _data_macs(self, page: int) -> Words:
        """The 64 MACs of a page's data lines, likewise."""
        line = self._regions["MAC"] + page * 8
        return self._dram[line : line + 8].reshape(_PAGE_LINES)

    def _keystream(self, hpa: int, versions: Words) -> Words:
        """AES(key, address of the 16-byte block, version of its line), as 64 lines."""
        blocks = np.empty((PAGE // 16, 2), np.uint64)
        np.add(self._block_offsets, hpa, out=blocks[:, 0])
        blocks.reshape(_PAGE_LINES, 4, 2)[:, :, 1] = versions[:, None]
        return _encipher(self._encrypt, blocks).reshape(_PAGE_LINES, 8)

    def _macs(self, lines: Lines, content: Words, nonces: Words) -> Words:
        """The 56-bit MAC of each line: hash(content) xor AES(key, number of the line, nonce).

        The nonce is the line's version, or its counter in the line above. Line and nonce together
        never come twice under one key, which is what Carter and Wegman ask for.
        """
        blocks = np.empty((len(lines), 2), np.uint64)
        blocks[:, 0], blocks[:, 1] = lines, nonces
        return (self._hash(content) ^ _encipher(self._pad, blocks)[:, 0]) & _MASK

    def _refuse(self, check: Check, row: int, lines: Lines, nonces: Words) -> MachineCheck:
        """Lock the engine because a line does not fit its MAC; return the error to raise."""
        name, at = _ROWS[row], int(lines[row]) * CACHE_LINE
        return self._lock(
            check,
            f"the {name} line at {at:#x} does not fit its MAC under counter {nonces[row]} of the "
            f"{_ABOVE[name]}: line or MAC was changed in DRAM, or an old one put back",
        )

    def _lock(self, check: Check | None, what: str) -> MachineCheck:
        """Lock the engine; return the error to raise."""
        error = MachineCheck(f"{what}. The engine is locked until reset(), which loses all content")
        self._failure = error
        return error if check is None else self._checks.refuse(check, error)


class _LineHash:
    """A universal hash of 64-byte lines: sum of key[i] * word[i] for i in 0..7, in GF(2^64).

    For two different lines the xor of their hashes is any given value with probability 2^-64 over
    the key, and the low 56 bits of it with 2^-56. Under a pad that is used once, nothing leaks
    about the key; so one attempt to forge succeeds with probability 2^-56, and a failed one locks
    the engine.

    Multiplication by a constant is linear, so the table holds, for each of the 64 byte positions,
    the product of each byte value: a hash is 64 look-ups.

    Args:
        key: 64 bytes, eight little-endian elements of the field.
    """

    POLYNOMIAL = 1 << 64 | 0b11011  # x^64 + x^4 + x^3 + x + 1, the customary one

    def __init__(self, key: bytes) -> None:
        table = np.zeros((CACHE_LINE, 256), np.uint64)
        for position, row in enumerate(table):
            if position % 8 == 0:
                product = int.from_bytes(key[position : position + 8], "little")
            for bit in range(8):
                row[1 << bit : 2 << bit] = row[: 1 << bit] ^ np.uint64(product)
                product <<= 1
                product ^= self.POLYNOMIAL * (product >> 64)
        self._table = table.reshape(-1)
        self._rows = np.arange(0, table.size, 256)

    def __call__(self, lines: Words) -> Words:
        """Hashes of ``lines`` (n x 8 words), untruncated."""
        index = lines.view(np.uint8) + self._rows
        hashes: Words = np.bitwise_xor.reduce(self._table.take(index), axis=1)
        return hashes


def _block_cipher(key: bytes) -> CipherContext:
    """AES on single blocks. Without chaining or padding, one context serves forever."""
    return Cipher(algorithms.AES(key), modes.ECB()).encryptor()


def _encipher(cipher: CipherContext, blocks: Words) -> Words:
    """Each 16-byte row of ``blocks`` (n x 2 words) enciphered."""
    return np.frombuffer(cipher.update(blocks.tobytes()), np.uint64).reshape(-1, 2)


def _steps() -> Words:
    """What a write adds to the counter lines, for each of the 64 pages that share an L2 line."""
    steps = np.zeros((64, 11, 8), np.uint64)
    page = np.arange(64)
    steps[:, : _L1 - _TREE] = 1
    steps[page, _L1 - _TREE, page % 8] = 1
    steps[page, _L2 - _TREE, page // 8] = 1
    return steps


def _stored_macs(stored: Words) -> Words:
    """The MACs of counter lines: the top bytes of their eight words. (n x 8) to (n)."""
    return stored.view(np.uint8)[:, 7::8].copy().view(np.uint64)[:, 0]


def _wrong_rows(macs: Words, stored: Words, nonces: Words) -> list[int]:
    """Rows whose stored MAC is not the right one; a nonce of zero means never written."""
    if macs.tobytes() == stored.tobytes():  # the usual case, in a tenth of the time
        return []
    return [int(row) for row in np.flatnonzero((macs != stored) & (nonces != 0))]


def _region_lines(pages: int) -> dict[str, int]:
    """Lines in each region of metadata, in the order that they have in DRAM."""
    l1, l2 = -(-pages // 8), -(-pages // 64)
    return {"MAC": pages * 8, "versions": pages * 8, "L0": pages, "L1": l1, "L2": l2}


def _require_layout(dram: DRAM, protected: range, metadata_hpa: int) -> None:
    """Raise UsageError unless both regions are page-aligned, in memory, and apart."""
    start, stop = protected.start, protected.stop
    end = metadata_hpa + CounterTree.metadata_size(len(protected))
    where = f"protected {start:#x}..{stop:#x} with metadata {metadata_hpa:#x}..{end:#x}"
    if protected.step != 1 or not protected or not is_aligned(start | stop | metadata_hpa):
        raise UsageError(f"{where}: every region must start and end at a page")
    if min(start, metadata_hpa) < 0 or max(stop, end) > dram.size:
        raise UsageError(f"{where} does not fit into memory (0..{dram.size:#x})")
    if metadata_hpa < stop and start < end:
        raise UsageError(f"{where}: the two overlap; metadata_size() says how much room it needs")
