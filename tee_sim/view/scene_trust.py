"""The chain of trust: who vouches for whom, from a root that somebody chose down to one enclave.

Each arrow is drawn as a Verifier's checks found it: whole, broken, or unknown. What stands below an
arrow that is not whole is vouched for by nobody.
"""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import NamedTuple

from tee_sim.attest.ledger import show
from tee_sim.attest.results import AttestationResult
from tee_sim.errors import UsageError
from tee_sim.view import palette as c
from tee_sim.view.player import Frame, Picture
from tee_sim.view.svg import Canvas


class Link(NamedTuple):
    """A member of a chain and the arrow to it, or something beside the chain.

    ``checks`` are patterns of the names of checks, ``how`` says what the member above does to vouch
    for this one, ``which`` is a claim, or a check whose found value counts, that tells it apart.
    """

    name: str
    checks: str
    how: str = ""
    which: str = ""


# fmt: off
CHAINS = {
    "QE_REPORT.SIGNATURE": (
        Link("Root CA, whose SHA-256 is", "PCK.CERTIFICATES PCK.ROOT",
             "the Verifier's choice", "PCK.ROOT"),
        Link("The platform's key (PCK), and the CAs above it", "PCK.CHAIN PCK.FORMAT",
             "each signs the next one's certificate", "PCK.CHAIN"),
        Link("Report of the quoting enclave, whose signer is", "QE_REPORT.[!K]*",
             "the PCE signs it with the PCK", "QE_IDENTITY.MRSIGNER"),
        Link("Attestation key, whose SHA-256 is", "QE_REPORT.KEY_BINDING",
             "holds the key's SHA-256", "QE_REPORT.KEY_BINDING"),
        Link("Quote: the report of an enclave or TD", "QUOTE.*", "signs it", "unique_id"),
        Link("Nonce and key of the program, whose SHA-256 is",
             "EVIDENCE.* POLICY.KEY_BINDING POLICY.REPORT_DATA", "holds it", "report_data"),
    ),
    "REPORT.SIGNATURE": (
        Link("Root CA of the TPM's vendor", "AK.FORMAT", "the Verifier's choice"),
        Link("AK: the attestation key of the TPM", "AK.CHAIN EK.*", "signs its certificate"),
        Link("Quote: the PCRs of this boot", "QUOTE.*", "signs it", "LOG.PCRS"),
        Link("Event log: what was started, such as this secure kernel", "LOG.*",
             "hold what a replay of the log gives", "measurement.securekernel.exe"),
        Link("Report of an enclave", "REPORT.FORMAT REPORT.SIGNATURE REPORT.PLATFORM",
             "names the secure kernel's key (IDKS), which signs it", "unique_id"),
        Link("What the program binds", "REPORT.DATA", "holds it", "report_data"),
    ),
}
"""For quotes of SGX and TDX, and for VBS reports, by a check that only this kind has."""
BESIDE = tuple(Link(*each.split(": ")) for each in (
    "revocation lists: *_CRL.* PCK.*NOT_REVOKED *.SIGNER_NOT_REVOKED",
    "quoting enclave's identity: QE_IDENTITY.*",
    "TDX module: TDX_MODULE.*",
    "TCB level: TCB_INFO.* TCB.*",
    "boot and its settings: BOOT.* MEASUREMENT.* SETTING.*",
    "identity and versions: IDENTITY.* SVN.* REPORT.DEBUG REPORT.ENCLAVE_TYPE",
    "all dates: *.CURRENT",
    "appraisal policy: POLICY.*",
))
_LOOKS = {True: (c.DEEP_GREEN, "", "holds"), False: (c.DEEP_VERMILION, "7 5", "BROKEN"),
          None: (c.LINE, "2 5", "not checked")}
# fmt: on


def chain_of_trust(result: AttestationResult, title: str = "The chain of trust") -> Picture:
    """Draw what a Verifier found out about a quote of SGX or TDX, or about a VBS report.

    Raises:
        UsageError: these are the checks of something else.
    """
    found = {check.name: check.found for check in result.checks}
    links = next((chain for kind, chain in CHAINS.items() if kind in found), None)
    if links is None:
        raise UsageError("chain_of_trust draws the results of verify_quote and verify_vbs")
    said: list[str] = []
    canvas, trusted, y = Canvas(), True, 8
    for link, whole, words in _judged(links, result):
        trusted = trusted and whole is True
        ink, dash = (c.INK, "") if trusted else (c.SOFT_INK, "4 4")
        which = result.claims.get(link.which) or found.get(link.which, "")
        which = show(which.removesuffix(bytes(32)) if isinstance(which, bytes) else which)
        _arrow(canvas, y, f"{link.how}: {words}", whole)
        fill = c.WHITE if trusted else c.PALE
        canvas.rect(8, y + 42, 560, 50, radius=6, thick=1 + trusted, dash=dash, fill=fill)
        canvas.text(22, y + (62 if which else 71), link.name, bold=True, room=530, fill=ink)
        canvas.text(22, y + 80, which, size=12, mono=True, room=530, fill=ink)
        said.append(f"{link.name}: {link.how}, {words}")
        y += 92
    canvas.text(590, 36, "What is thought of its members", size=13, fill=c.SOFT_INK)
    for i, (link, whole, words) in enumerate(_judged(BESIDE, result)):
        _sign(canvas, 598, 62 + 58 * i, whole)
        canvas.text(614, 67 + 58 * i, link.name, bold=True, room=280)
        canvas.text(614, 85 + 58 * i, words, size=12, fill=_LOOKS[whole][0], room=280)
        said.append(f"beside it, {link.name}: {words}")
    return Picture(Frame(canvas.svg(y + 8), "", "; ".join(said) + "."), title)


def _judged(
    links: tuple[Link, ...], result: AttestationResult
) -> Iterator[tuple[Link, bool | None, str]]:
    """Those links that were looked at: whether all checks passed, and which did not."""
    for link in links:
        patterns = link.checks.split()
        mine = [each for each in result.checks if any(fnmatchcase(each.name, p) for p in patterns)]
        if mine:
            outcome = min((each.passed for each in mine), key=(False, None, True).index)
            bad = [each.name for each in mine if not outcome and each.passed is outcome]
            more = f" +{len(bad) - 1}" if bad[1:] else ""
            yield link, outcome, ", ".join((_LOOKS[outcome][2], *bad[:1])) + more


def _arrow(canvas: Canvas, y: float, words: str, whole: bool | None) -> None:
    """From one box down to the next, interrupted by a sign."""
    ink, dash, _ = _LOOKS[whole]
    canvas.line(40, y, 40, y + 36, stroke=ink, thick=3, dash=dash)
    canvas.path(f"M34 {y + 34}L40 {y + 41}L46 {y + 34}", stroke=ink, thick=3)
    canvas.rect(30, y + 8, 20, 20, thick=0)
    _sign(canvas, 40, y + 18, whole)
    canvas.text(62, y + 23, words, size=13, fill=ink, room=500)


def _sign(canvas: Canvas, x: float, y: float, whole: bool | None) -> None:
    ink = _LOOKS[whole][0]
    if whole is None:
        canvas.text(x, y + 5, "?", bold=True, anchor="middle", fill=ink)
    else:
        (canvas.tick if whole else canvas.cross)(x, y, ink)
