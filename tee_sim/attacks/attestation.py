"""Rows 28, 30 and 36, and their family: convincing a user, far away, of something false.

Each `Scenario` is what a host does and whom it meets, with the checks whose absence lets it in: a
careful Relying Party makes them, a careless one forgets them. It has succeeded when the host holds
the user's secret, or when she sent it to an enclave that is gone.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from hashlib import sha256
from json import dumps
from typing import TYPE_CHECKING, Any, NamedTuple

from tee_sim.attacks.outcome import Attack, Outcome, Variant, stopped
from tee_sim.attacks.site import (
    AUDIENCE,
    BEFORE,
    HEADER,
    ISSUER,
    NOW,
    SECRET,
    VERSION,
    Site,
    simulated_intel,
    simulator,
    twin,
    wrap,
)
from tee_sim.attest.collateral import Collateral
from tee_sim.attest.intel import DAY
from tee_sim.attest.relying_party import KEY_SIZE, RelyingParty
from tee_sim.attester import evidence_of, manufacture
from tee_sim.checks import PATCH_LEVEL
from tee_sim.errors import known
from tee_sim.platform import DeployedEnclave

if TYPE_CHECKING:
    from tee_sim.platform import Platform

SGX = ("sgx-mee", "sgx-tme")
"""Platforms whose evidence is a quote."""
ON_VBS = ("replayed evidence", "relayed evidence", "wrong signer", "old version")
"""Scenarios that are told apart by nothing that only a quote has."""


class Offer(NamedTuple):
    """What the host answers to a challenge.

    Attributes:
        evidence: or a token; empty if the host could not make it.
        open: how the host reads what comes back.
        channel: the key at the host's end of the connection, if there is one.
        gone: the enclave of the evidence, if there is none any more.
    """

    evidence: bytes
    open: Callable[[bytes], bytes]
    channel: bytes | None = None
    gone: DeployedEnclave | None = None


# What the host does with a nonce


def replay(site: Site, nonce: bytes) -> Offer:
    """Evidence of an enclave that is gone."""
    old = site.host.create_enclave("attested")
    evidence = evidence_of(old, sha256(b"the challenge of yesterday").digest())
    old.close()
    return Offer(evidence, lambda message: b"", gone=old)


def relay(site: Site, nonce: bytes) -> Offer:
    """Evidence of the genuine enclave, and a connection of one's own."""
    return Offer(evidence_of(site.enclave, nonce), site.open, site.bound(b""))


def debug(site: Site, nonce: bytes) -> Offer:
    """Evidence of a debug enclave, and a debugger."""
    enclave = site.host.create_enclave("attested", debug=True)

    def look(message: bytes) -> bytes:
        enclave.receive(message, len(message))
        sgx, place = site.host.adversary.sgx, enclave.physical("attested_secret")
        assert sgx is not None, "SGX"
        words = [sgx.edbgrd(place + at) for at in range(0, len(SECRET), 8)]
        return b"".join(word.to_bytes(8, "little") for word in words)[: len(SECRET)]

    return Offer(evidence_of(enclave, nonce), look)


def write_token(site: Site, nonce: bytes) -> Offer:
    """A token by nobody."""
    import jwt

    claims = {"iss": ISSUER, "aud": AUDIENCE, "nbf": NOW, "exp": NOW + DAY}
    claims["x-ms-sgx-ehd"] = urlsafe_b64encode(site.bound(nonce)).decode()
    return Offer(jwt.encode(claims, "", algorithm="none").encode(), site.open)


def get_token(site: Site, nonce: bytes) -> Offer:
    """A token for a program of one's own."""
    made = (site.own_quote(site.bound(nonce)), site.bound(nonce))
    quote, claims = (urlsafe_b64encode(data).decode() for data in made)
    request = {"quote": quote, "runtimeData": {"data": claims, "dataType": "Binary"}}
    token = site.attestation_service.attest(dumps(request).encode(), "SgxEnclave")
    return Offer(token.encode(), site.open)


def quoting(quote: Callable[[Site, bytes], bytes]) -> Callable[[Site, bytes], Offer]:
    """A quote, with claims beside it that hold the nonce and the host's own key."""

    def move(site: Site, nonce: bytes) -> Offer:
        claims = site.bound(nonce)
        made = quote(site, claims)
        return Offer(wrap(made, claims) if made else b"", site.open)

    return move


swap = quoting(lambda site, claims: evidence_of(site.enclave, b"")[HEADER:-KEY_SIZE])
old_one = quoting(lambda site, claims: site.own_quote(claims, VERSION - 1, by_author=True))
simulate = quoting(lambda site, claims: simulator(site.host.tee.name).forged_quote(claims))
own = quoting(lambda site, claims: site.own_quote(claims))
forge = quoting(Site.forged_quote)


# Which collateral it brings


def revoking(site: Site) -> Collateral:
    """From before the flaw is known, but not this platform's misfortune."""
    intel, pck = simulated_intel(), site.service.pck
    manufacture(site.host, intel)
    intel.revoke(site.service.chain, at=BEFORE)
    return intel.collateral(pck.fmspc, pck.ca, BEFORE)


def tampered(site: Site) -> Collateral:
    """Of today, but for one word."""
    given = site.collateral()
    return replace(given, tcb_info=given.tcb_info.replace("OutOfDate", "UpToDate"))


@dataclass(frozen=True)
class Scenario:
    """One way to convince a user of something false.

    Attributes:
        does: what the host does; completes a sentence.
        move: the same, as a function.
        needs: names of the checks that have to be forgotten, each of them, between blanks.
        patch_level: of the platform on which it works.
        at: when, Unix seconds.
        collateral: what the host brings; None for what the vendor says at that time.
        user: whom it meets: `Site.user` or `Site.token_user`.
    """

    does: str
    move: Callable[[Site, bytes], Offer]
    needs: str
    patch_level: int = PATCH_LEVEL
    at: int = NOW
    collateral: Callable[[Site], Collateral] | None = None
    user: str = "user"

    @property
    def omits(self) -> frozenset[str]:
        """The checks that a careless user forgets; with none, nobody can tell."""
        return frozenset(self.needs.split())


# fmt: off
SCENARIOS = {
    "replayed evidence": Scenario("shows evidence of yesterday, of an enclave that is gone",
        replay, "EVIDENCE.NONCE"),
    "relayed evidence": Scenario("has the genuine enclave answer, on a connection of its own",
        relay, "EVIDENCE.CHANNEL"),
    "swapped key": Scenario("puts its own public key where the enclave's was, beside the quote",
        swap, "EVIDENCE.CUSTOM_CLAIMS"),
    "wrong signer": Scenario("launches a program of its own that says the same things",
        own, "POLICY.SIGNER"),
    "old version": Scenario("launches version 1 of the author's, which reports what it is told",
        old_one, "POLICY.VERSION"),
    "debug enclave": Scenario("launches the debug form that the author signed, and a debugger",
        debug, "POLICY.DEBUG"),
    "simulator": Scenario("runs the program in a simulator, under the simulator's own root",
        simulate, "PCK.ROOT TCB_INFO.ROOT QE_IDENTITY.ROOT",
        collateral=lambda site: simulator(site.host.tee.name).collateral()),
    "stolen key": Scenario("forges evidence with the attestation key that leaked; nobody knows",
        forge, "", 0, BEFORE),
    "unpatched platform": Scenario("does the same when the vendor has told the world",
        forge, "POLICY.TCB_STATUS", 0),
    "revoked platform": Scenario("does the same when the vendor knows of this one key only",
        forge, "PCK.NOT_REVOKED", 0, BEFORE, revoking),
    "tampered collateral": Scenario("does the same, and changes one word of what the vendor says",
        forge, "TCB_INFO.SIGNATURE", 0, NOW, tampered),
    "expired collateral": Scenario("does the same, and brings what the vendor said before he knew",
        forge, "CRLS.CURRENT TCB_INFO.CURRENT QE_IDENTITY.CURRENT", 0, NOW,
        lambda site: site.collateral(BEFORE)),
    "unsigned token": Scenario('writes a token itself, with the algorithm "none"',
        write_token, "TOKEN.SIGNATURE", user="token_user"),
    "other audience": Scenario("gets a token for a program of its own, meant for somebody else",
        get_token, "TOKEN.AUDIENCE", user="token_user"),
}
# fmt: on


def play(name: str, site: Site, omits: Collection[str] = ()) -> Outcome:
    """One scenario: challenge, answer, and what comes of it.

    Args:
        name: see `SCENARIOS`.
        site: a server at the scenario's patch level.
        omits: names of checks that the user forgets to make.

    Raises:
        UsageError: there is no such scenario, or not on this platform.
    """
    there = ON_VBS if site.host.tee.name == "vbs" else SCENARIOS
    known("scenario", [name], there, f" on {site.host.tee.name}")
    scenario = SCENARIOS[name]
    brought = scenario.collateral(site) if scenario.collateral else None
    user: RelyingParty = getattr(site, scenario.user)(omits, brought, scenario.at)
    offer = scenario.move(site, user.challenge())
    if not offer.evidence:
        return stopped(site.host, "the attestation key was not to be had")
    result = user.judge(offer.evidence, offer.channel)
    if not result.accepted:
        check = next(c for c in (*result.failed, *result.checks) if not c.passed)
        return Outcome("blocked", check.why, check.name)
    message = user.release(offer.evidence, SECRET, offer.channel)
    if offer.gone is not None and offer.gone.lost:
        return Outcome("succeeds", "the user sent her secret to an enclave that is gone")
    if (leaked := offer.open(message)) == SECRET:
        return Outcome("succeeds", "the host holds the user's secret", leaked=leaked)
    return stopped(site.host, "what the user sent tells the host nothing", "")


# The rows of the matrix


def convince(host: Platform, name: str, omits: Collection[str]) -> Outcome:
    """Play one scenario on a server like this one.

    Args:
        host: the platform; its host is the adversary.
        name: of the scenario.
        omits: names of checks that the Relying Party forgets.
    """
    return play(name, twin(host.tee.name, host.patch_level, host.checks.without), omits)


def _stage(name: str) -> Callable[[Platform], tuple[str]]:
    return lambda host: (name,)


def _row(row: int, title: str, source: str, scene: str, *variants: Variant, **more: Any) -> Attack:
    """An attack; if nothing else is said, on a careful Relying Party and on a careless one."""
    both = (
        Variant("careful Relying Party", omits=frozenset()),
        Variant("careless Relying Party", omits=SCENARIOS[scene].omits),
    )
    name, ways = title.lower().replace(" ", "_"), variants or both
    only = more.pop("only", (*SGX, "vbs"))
    stage = _stage(scene)
    return Attack(name, row, title, source, convince, stage, only=only, variants=ways, **more)


stale_evidence = _row(28, "Stale evidence", "RFC 9334, Freshness", "replayed evidence")
relayed_evidence = _row(28, "Relayed evidence", "Parno 2008 (cuckoo attack)", "relayed evidence")
attested_impostor = _row(36, "Attested impostor", "RFC 9334, Appraisal Policy", "wrong signer")
stolen_attestation_key = _row(
    30,
    "Stolen attestation key",
    "van Schaik et al. 2020 (SGAxe); Borrello et al. 2022 (ÆPIC Leak); the leak is a model",
    "stolen key",
    Variant("patched", omits=frozenset()),
    Variant("as sold", 0, omits=frozenset()),
    Variant("as sold, after TCB recovery", 0, _stage("unpatched platform"), frozenset()),
    proves=("BUFFERS.CLEARED",),
    only=SGX,
)
