"""Measure speed as ratios, both sides in one process, and print one JSON object.

Absolute times vary from machine to machine and from minute to minute; a ratio of two things that
were measured in turn, each the minimum of several runs, varies much less. Every figure has a
limit; the exit status says whether all of them hold. Run it with ``make bench``.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import mmap
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import dcap_qvl
import unicorn
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from unicorn import unicorn_const as uc
from unicorn import x86_const as x86

from tee_sim import Platform
from tee_sim.abi.image import Image, ImagePage, measure
from tee_sim.abi.sgx import TCS, PageType
from tee_sim.attest.chains import broken_link, load_chain
from tee_sim.attest.collateral import Collateral
from tee_sim.attest.tcb import parse_qe_identity, parse_tcb_info
from tee_sim.attest.verifier import verify_quote
from tee_sim.checks import Checks
from tee_sim.hypervisor.honest import Launch
from tee_sim.hypervisor.sgx import SGXGuest
from tee_sim.machine.dram import DRAM
from tee_sim.machine.encryption import TREE_CHECKS, XTS, XTS_CHECKS
from tee_sim.machine.entropy import Entropy
from tee_sim.machine.tree import CounterTree
from tee_sim.platform import signature
from tee_sim.sdk.build import build
from tee_sim.units import MIB, PAGE

LIMITS = {
    "enclave_vs_unicorn": (">=", 0.9),
    "enclave_vs_unicorn_16mib": (">=", 0.5),
    "eenter_vs_emu_start": ("<", 10),
    "ecall_vs_emu_start": ("<", 20),
    "ecall_1mib_vs_copies_and_encryption": ("<", 3),
    "interface_100_functions_s": ("<", 2),
    "measure_vs_sha256": ("<", 5),
    "load_vs_sha256": ("<", 25),
    "xts_vs_cryptography": (">=", 0.5),
    "tree_vs_cryptography": (">=", 0.05),
    "evict_reload_vs_tree": ("<", 10),
    "import_vs_dependencies": ("<", 1.5),
    "enclaves_200_gib": ("<", 1.0),
    "creation_last_vs_first": ("<", 1.5),
    "verify_quote_vs_dcap_qvl": ("<", 3),
    "verify_quote_again_vs_dcap_qvl": ("<", 2),
}
GIB = 1 << 30
ENCLAVES = 200
"""On one platform, all alive, for the last three figures."""

SSE_COPY = bytes.fromhex("f30f6f06 f30f7f07 4883c610 4883c710 48ffc9 75eb 90")
"""next: movdqu xmm0, [rsi]; movdqu [rdi], xmm0; add rsi, 16; add rdi, 16; dec rcx; jnz next."""
EEXIT = bytes.fromhex("b804000000 0f01d7")


def interleaved(first: Callable[[], object], second: Callable[[], object], rounds: int) -> float:
    """Minimum time of ``first`` over the minimum time of ``second``, taken in turn."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for action, record in zip((first, second), times, strict=True):
            start = time.perf_counter()
            action()
            record.append(time.perf_counter() - start)
    return min(times[0]) / min(times[1])


def repeat(action: Callable[[], object], times: int) -> Callable[[], None]:
    """The action, several times in a row, so that one measurement is long enough."""

    def run() -> None:
        for _ in range(times):
            action()

    return run


def loop(size: int, passes: int, end: bytes) -> bytes:
    """Code that adds to each 64-bit word of ``size`` bytes at RSI, ``passes`` times.

    mov ecx, passes; outer: mov rdx, rsi; mov r8d, size/8; inner: add [rdx], r8; add rdx, 8;
    dec r8d; jnz inner; dec ecx; jnz outer.
    """
    body = (
        b"\xb9" + passes.to_bytes(4, "little")
        + bytes.fromhex("4889f2 41b8") + (size // 8).to_bytes(4, "little")
        + bytes.fromhex("4c0102 4883c208 41ffc8 75f4 ffc9 75e7")
    )  # fmt: skip
    return body + end


class BareUnicorn:
    """The same code on Unicorn alone: virtual TLB with an identity hook, no checks."""

    def __init__(self, code: bytes, memory: int) -> None:
        self._map = mmap.mmap(-1, memory + PAGE)
        self._anchor = ctypes.c_char.from_buffer(self._map)
        self._map[: len(code)] = code
        self.engine = unicorn.Uc(uc.UC_ARCH_X86, uc.UC_MODE_64)
        self.engine.ctl_set_tcg_buffer_size(32 * MIB)
        self.engine.ctl_set_tlb_mode(uc.UC_TLB_VIRTUAL)
        self.engine.mem_map_ptr(0, memory + PAGE, uc.UC_PROT_ALL, ctypes.addressof(self._anchor))
        self.engine.hook_add(uc.UC_HOOK_TLB_FILL, self._fill)
        self.end = len(code)

    def _fill(self, _uc: object, gva: int, _kind: int, entry: object, _data: object) -> bool:
        # Not UC_PROT_ALL: on pages that may hold code every store takes a slow path.
        code = gva < PAGE
        entry.paddr = gva & -PAGE
        entry.perms = uc.UC_PROT_READ | (uc.UC_PROT_EXEC if code else uc.UC_PROT_WRITE)
        return True

    def run(self) -> None:
        self.engine.reg_write(x86.UC_X86_REG_RSI, PAGE)
        self.engine.emu_start(0, self.end)


def bare_enclave(host: Platform, code: bytes, data_pages: int) -> tuple[object, Callable[[], None]]:
    """An enclave of hand-placed pages that runs ``code`` with RSI at its data."""
    first = 16 * PAGE
    pages = [ImagePage(0, PageType.REG, True, False, True, code.ljust(PAGE, b"\xcc"))]
    tcs = TCS(ossa=2 * PAGE, nssa=2, oentry=0)
    pages.append(ImagePage(PAGE, PageType.TCS, False, False, False, tcs.pack()))
    pages += [data(at * PAGE) for at in (2, 3)]
    pages += [data(first + at * PAGE) for at in range(data_pages)]
    size = 1 << (first + data_pages * PAGE - 1).bit_length()
    image = Image(size, 1, tuple(pages))
    guest = host.host.launch(Launch("loop", image, signature(measure(image))))
    return guest, lambda: guest.enter(0, 0, guest.base + first)


def data(offset: int) -> ImagePage:
    return ImagePage(offset, PageType.REG, True, True, False, bytes(PAGE), 0)


def execution(size: int, passes: int) -> float:
    """Speed in an enclave over speed on bare Unicorn, the same loop over ``size`` bytes."""
    host = Platform("sgx-tme")
    _guest, inside = bare_enclave(host, loop(size, passes, EEXIT), size // PAGE)
    bare = BareUnicorn(loop(size, passes, b"\x90"), size + PAGE)
    inside()
    bare.run()
    return 1 / interleaved(inside, bare.run, 7)


def transitions() -> dict[str, float]:
    host = Platform("sgx-tme")
    _guest, empty = bare_enclave(host, EEXIT, 1)
    vault = host.create_enclave("vault")
    nothing = BareUnicorn(b"\x90", PAGE)
    for warm in (empty, vault.ping, nothing.run):
        repeat(warm, 200)()
    start = repeat(lambda: nothing.engine.emu_start(0, 1), 500)
    return {
        "eenter_vs_emu_start": interleaved(repeat(empty, 500), start, 15),
        "ecall_vs_emu_start": interleaved(repeat(vault.ping, 500), start, 15),
    }


@contextmanager
def program(ecalls: str, code: str, heap_pages: int = 16) -> Iterator[str]:
    """The directory of a program of its own; it was never built before."""
    with tempfile.TemporaryDirectory() as directory:
        place, nonce = Path(directory), time.time_ns()
        (place / "bench.edl").write_text(f"enclave {{ trusted {{ {ecalls} }}; }};")
        (place / "bench.c").write_text(f'#include "bench_t.h"\n/* {nonce} */\n{code}\n')
        (place / "program.toml").write_text(f'name = "bench"\nheap_pages = {heap_pages}\n')
        yield directory


def building() -> float:
    """Seconds to build a program whose interface has 100 functions, from EDL to ELF."""
    params = "[in, count=n] const int* a, [in, out, size=8] char* b, size_t n, double c"
    in_c = "const int* a, char* b, size_t n, double c"
    ecalls = "".join(f"public int f{i}({params});" for i in range(100))
    code = "".join(
        f"int f{i}({in_c}) {{ return a[n - 1] + b[{i % 8}] + (int)c; }}\n" for i in range(100)
    )
    times = []
    for _ in range(3):
        with program(ecalls, code) as directory:
            start = time.perf_counter()
            build(directory, "sgx")
            times.append(time.perf_counter() - start)
    return min(times)


def megabytes() -> float:
    """An ecall with 1 MiB in and 1 MiB out, over what it cannot do without.

    That is two copies of 1 MiB by SSE loads and stores in the guest, and the encryption of the 512
    pages that hold the two buffers inside.
    """
    edl = "public void move([in, size=n] const void* from, [out, size=n] void* to, size_t n);"
    code = "void move(const void* from, void* to, size_t n) { (void)from; (void)to; (void)n; }"
    with program(edl, code, heap_pages=520) as directory:
        enclave = Platform("sgx-tme").create_enclave(directory)
    content, page, mode = bytes(MIB), bytes(range(256)) * 16, modes.XTS(bytes(16))
    bare = BareUnicorn(SSE_COPY, 2 * MIB + PAGE)

    def needed() -> None:
        for _ in range(2):
            bare.engine.reg_write(x86.UC_X86_REG_RDI, PAGE + MIB)
            bare.engine.reg_write(x86.UC_X86_REG_RCX, MIB // 16)
            bare.run()
        for _ in range(512):
            Cipher(algorithms.AES(bytes(range(32))), mode).encryptor().update(page)

    enclave.move(content, MIB)
    return interleaved(lambda: enclave.move(content, MIB), needed, 7)


def measuring() -> dict[str, float]:
    content = Entropy(0).take(8 * MIB, "bench")
    pages = tuple(
        ImagePage(at, PageType.REG, True, True, False, content[at : at + PAGE])
        for at in range(0, 8 * MIB, PAGE)
    )
    image = Image(16 * MIB, 1, pages)
    host = Platform("sgx-tme")

    def load() -> None:
        host.host.launch(Launch("big", image, None)).close()

    sha256 = repeat(lambda: hashlib.sha256(content).digest(), 1)
    return {
        "measure_vs_sha256": interleaved(lambda: measure(image), sha256, 9),
        "load_vs_sha256": interleaved(load, sha256, 7),
    }


def engines() -> dict[str, float]:
    page, key, memory = bytes(range(256)) * 16, bytes(range(32)), DRAM(16 * MIB)
    xts = XTS(memory, Checks(XTS_CHECKS), Entropy(0))
    tree = CounterTree(
        memory, Checks(TREE_CHECKS), Entropy(0), protected=range(0, 4 * MIB), metadata_hpa=4 * MIB
    )
    tree.write_page(0, page)

    def bare_xts() -> None:
        mode = modes.XTS((4096).to_bytes(16, "little"))
        Cipher(algorithms.AES(key), mode).encryptor().update(page)

    def bare_ctr() -> None:
        Cipher(algorithms.AES(key[:16]), modes.CTR(bytes(16))).encryptor().update(page)

    def ratio(ours: Callable[[], object], theirs: Callable[[], object]) -> float:
        return 1 / interleaved(repeat(ours, 200), repeat(theirs, 200), 11)

    return {
        "xts_vs_cryptography": min(
            ratio(lambda: xts.write_page(PAGE, page), bare_xts),
            ratio(lambda: xts.read_page(PAGE), bare_xts),
        ),
        "tree_vs_cryptography": min(
            ratio(lambda: tree.write_page(0, page), bare_ctr),
            ratio(lambda: tree.read_page(0), bare_ctr),
        ),
    }


def paging(tee: str) -> float:
    """Time to evict a page by the book and reload it, over encrypting one page with the tree.

    The page comes from DRAM and goes back there, through the platform's own engine.
    """
    host = Platform(tee)
    guest = host.create_enclave("vault").guest
    sgx, memory, page = host.adversary.sgx, DRAM(16 * MIB), bytes(range(256)) * 16
    assert isinstance(guest, SGXGuest)
    assert sgx is not None
    hpa, versions = next(iter(guest.pages.values())), sgx.epc.take()
    sgx.epa(versions)
    tree = CounterTree(
        memory, Checks(TREE_CHECKS), Entropy(0), protected=range(0, 4 * MIB), metadata_hpa=4 * MIB
    )

    def there_and_back() -> None:
        sgx.eblock(hpa)
        sgx.etrack(guest.secs_hpa)
        sgx.eldu(hpa, guest.secs_hpa, versions, sgx.ewb(hpa, versions))
        host.adversary.evict(hpa)

    encrypt = repeat(lambda: tree.write_page(0, page), 200)
    return interleaved(repeat(there_and_back, 200), encrypt, 11)


def importing() -> float:
    """Time to start Python and import `Platform`, over the same for the declared dependencies.

    The dependencies are those of `pyproject.toml` without extras. Over only those modules of them
    that `Platform` itself loads (numpy, rich and typer wait until they are needed) it is more.
    """
    dependencies = (
        "import unicorn, capstone, lark, numpy, rich.table, rich.progress, typer, "
        "elftools.elf.elffile, cryptography.hazmat.primitives.asymmetric.rsa, "
        "cryptography.hazmat.primitives.serialization, cryptography.hazmat.primitives.ciphers"
    )

    def start(code: str) -> Callable[[], object]:
        return lambda: subprocess.run([sys.executable, "-c", code], check=True)

    return interleaved(start("from tee_sim import Platform"), start(dependencies), 9)


def many() -> dict[str, float]:
    host, times, enclaves = Platform("sgx-tme"), [], []
    host.create_enclave("vault").close()
    for _ in range(ENCLAVES):
        start = time.perf_counter()
        enclaves.append(host.create_enclave("vault"))
        times.append(time.perf_counter() - start)
    for enclave in enclaves:
        enclave.make_secret("1")
    first, last = statistics.median(times[:20]), statistics.median(times[-20:])
    return {"creation_last_vs_first": last / first}


def memory_of_many() -> float:
    """Peak resident memory, in GiB, of a process with `ENCLAVES` enclaves."""
    code = (
        "import resource\n"
        "from tee_sim import Platform\n"
        "host = Platform('sgx-tme')\n"
        f"enclaves = [host.create_enclave('vault') for _ in range({ENCLAVES})]\n"
        "for enclave in enclaves: enclave.make_secret('1')\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    unit = 1 if sys.platform == "darwin" else 1024
    return int(out.stdout) * unit / GIB


def verifying() -> dict[str, float]:
    """A real quote with its collateral, over what `dcap-qvl` takes, which remembers nothing.

    Once with nothing remembered, and again with chains and collateral known from the first time.
    """
    beside = Path(__file__).parents[2] / "shared" / "vectors"
    folder = Path(os.environ.get("TEE_SIM_VECTORS", beside)) / "dcap"
    if not folder.is_dir():
        print(f"no quotes to verify in {folder}; TEE_SIM_VECTORS names them", file=sys.stderr)
        return {}
    first, again = [], []
    for name, at in (("sgx", 1752919277), ("tdx", 1752919234)):
        quote = (folder / f"{name}_quote").read_bytes()
        text = (folder / f"{name}_quote_collateral.json").read_text()
        ours, other = Collateral.from_json(text), dcap_qvl.QuoteCollateralV3.from_json(text)

        def warm(quote: bytes = quote, ours: Collateral = ours, at: int = at) -> None:
            verify_quote(quote, ours, at=at).require()

        def cold(warm: Callable[[], None] = warm) -> None:
            for remembered in (load_chain, broken_link, parse_tcb_info, parse_qe_identity):
                remembered.cache_clear()
            warm()

        def theirs(quote: bytes = quote, other: object = other, at: int = at) -> None:
            dcap_qvl.verify(quote, other, at)

        first.append(interleaved(cold, theirs, 300))
        again.append(interleaved(warm, theirs, 300))
    return {
        "verify_quote_vs_dcap_qvl": max(first),
        "verify_quote_again_vs_dcap_qvl": max(again),
    }


def holds(name: str, value: float) -> bool:
    sign, limit = LIMITS[name]
    return value >= limit if sign == ">=" else value < limit


def measured() -> dict[str, float]:
    """Every figure that has a limit."""
    return {
        "enclave_vs_unicorn": execution(512 * 1024, 100),
        "enclave_vs_unicorn_16mib": execution(16 * MIB, 4),
        **transitions(),
        "ecall_1mib_vs_copies_and_encryption": megabytes(),
        "interface_100_functions_s": building(),
        **measuring(),
        **engines(),
        "evict_reload_vs_tree": max(paging("sgx-tme"), paging("sgx-mee")),
        "import_vs_dependencies": importing(),
        "enclaves_200_gib": memory_of_many(),
        **many(),
        **verifying(),
    }


def main() -> int:
    figures = measured()
    print(json.dumps({name: round(value, 3) for name, value in figures.items()}, indent=2))
    missed = [name for name, value in figures.items() if not holds(name, value)]
    for name in missed:
        print(f"{name}: limit {' '.join(map(str, LIMITS[name]))}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
