"""Rows 28, 30 and 36, and their family: convincing a user, far away, of something false.

Each `Scenario` is what a host does and whom it meets, with the checks whose absence lets it in: a
careful Relying Party makes them, a careless one forgets them. It has succeeded when the host holds
the user's secret, or when she sent it to an enclave that is gone.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from functools import cache
from hashlib import sha256
from json import dumps
from typing import TYPE_CHECKING, Any, NamedTuple

from tee_sim.abi.quote import unwrap
from tee_sim.attacks.outcome import Attack, Outcome, Variant, stopped
from tee_sim.attacks.site import (
    AUDIENCE,
    BEFORE,
    ISSUER,
    NOW,
    SECRET,
    VERSION,
    Site,
    simulated_intel,
    wrap,
)
from tee_sim.attest.certificates import public_bytes
from tee_sim.attest.intel import DAY
from tee_sim.attest.relying_party import RelyingParty
from tee_sim.attest.results import AttestationResult
from tee_sim.attester import evidence_of, manufacture
from tee_sim.checks import PATCH_LEVEL
from tee_sim.errors import known
from tee_sim.platform import DeployedEnclave

if TYPE_CHECKING:
    from tee_sim.platform import Platform

SGX = ("sgx-mee", "sgx-tme")
"""Platforms whose evidence is a quote. That of VBS is of another kind, and needs its own `Site`."""


class Offer(NamedTuple):
    """What the host answers to a challenge.

    Attributes:
        evidence: or a token.
        open: how the host reads what comes back.
        channel: the key at the host's end of a connection, if there is one.
        gone: the enclave that the evidence is about, if it does not exist any more.
    """

    evidence: bytes
    open: Callable[[bytes], bytes]
    channel: bytes | None = None
    gone: DeployedEnclave | None = None


# What the host does


def own_key(site: Site, quote: bytes, claims: bytes) -> Offer:
    """A quote with claims for the host's own key."""
    return Offer(wrap(quote, claims), site.open)


def replayed(site: Site, nonce: bytes) -> Offer:
    """Shows evidence of yesterday, of an enclave that is gone."""
    old = site.host.create_enclave("attested")
    evidence = evidence_of(old, sha256(b"the challenge of yesterday").digest())
    old.close()
    return Offer(evidence, lambda message: b"", gone=old)


def relayed(site: Site, nonce: bytes) -> Offer:
    """Has the genuine enclave answer, and sits at the other end of the connection itself."""
    channel = public_bytes(site.key.public_key())
    return Offer(evidence_of(site.enclave, nonce), site.open, channel)


def swapped_key(site: Site, nonce: bytes) -> Offer:
    """Puts its own public key where the enclave's was, beside the genuine quote."""
    return own_key(site, unwrap(evidence_of(site.enclave, nonce))[0], site.bound(nonce))


def debug(site: Site, nonce: bytes) -> Offer:
    """Launches the debug form that the author signed for tests, and reads with a debugger."""
    enclave = site.host.create_enclave("attested", debug=True)

    def look(message: bytes) -> bytes:
        enclave.receive(message, len(message))
        sgx, place = site.host.adversary.sgx, enclave.physical("attested_secret")
        assert sgx is not None, "SGX"
        words = [sgx.edbgrd(place + at) for at in range(0, len(SECRET), 8)]
        return b"".join(word.to_bytes(8, "little") for word in words)[: len(SECRET)]

    return Offer(evidence_of(enclave, nonce), look)


def old_version(site: Site, nonce: bytes) -> Offer:
    """Launches version 1 of the author's, which reports whatever it is told."""
    claims = site.bound(nonce)
    return own_key(site, site.own_quote(claims, VERSION - 1, by_author=True), claims)


def wrong_signer(site: Site, nonce: bytes) -> Offer:
    """Launches a program of its own that says the same things."""
    claims = site.bound(nonce)
    return own_key(site, site.own_quote(claims), claims)


def other_root(site: Site, nonce: bytes) -> Offer:
    """Runs the program in a simulator, whose keys it knows, under the simulator's own root."""
    claims = site.bound(nonce)
    return own_key(site, simulator(site.host.tee.name).forged_quote(claims), claims)


def stolen_key(site: Site, nonce: bytes) -> Offer | None:
    """Forges evidence with the attestation key that leaked."""
    claims = site.bound(nonce)
    quote = site.forged_quote(claims)
    return own_key(site, quote, claims) if quote else None


def unsigned_token(site: Site, nonce: bytes) -> Offer:
    """Writes a token itself, with the algorithm "none"."""
    import jwt

    claims = {"iss": ISSUER, "aud": AUDIENCE, "nbf": NOW, "exp": NOW + DAY}
    claims["x-ms-sgx-ehd"] = urlsafe_b64encode(site.bound(nonce)).decode()
    return Offer(jwt.encode(claims, "", algorithm="none").encode(), site.open)


def other_audience(site: Site, nonce: bytes) -> Offer:
    """Gets a token for a program of its own, which the service admits for somebody else."""
    claims = site.bound(nonce)
    quote, runtime = (urlsafe_b64encode(data).decode() for data in (site.own_quote(claims), claims))
    request = {"quote": quote, "runtimeData": {"data": runtime, "dataType": "Binary"}}
    token = site.attestation_service.attest(dumps(request).encode(), "SgxEnclave")
    return Offer(token.encode(), site.open)


# Whom it meets


def revoked(site: Site, omits: Collection[str]) -> RelyingParty:
    """A user, before the flaw is known, to whom the vendor says that this platform was broken."""
    intel = simulated_intel()
    manufacture(site.host, intel)
    intel.revoke(site.service.chain, at=BEFORE)
    pck = site.service.pck
    return site.user(omits, intel.collateral(pck.fmspc, pck.ca, BEFORE), BEFORE)


def tampered(site: Site, omits: Collection[str]) -> RelyingParty:
    """A user to whom the host gives collateral in which it has changed one word."""
    given = site.collateral()
    return site.user(
        omits, replace(given, tcb_info=given.tcb_info.replace("OutOfDate", "UpToDate"))
    )


def token_user(site: Site, omits: Collection[str]) -> RelyingParty:
    """A user who takes tokens, and leaves the evidence to the attestation service."""
    from tee_sim.services.presented import appraise_token

    key = site.attestation_service.signer.key.public_key()

    def opinion(token: bytes) -> AttestationResult:
        return appraise_token(token, key, issuer=ISSUER, audience=AUDIENCE, at=NOW)

    return RelyingParty(opinion, seed=0, omits=omits)


@dataclass(frozen=True)
class Scenario:
    """One way to convince a user of something false.

    Attributes:
        name: as in `SCENARIOS`.
        move: what the host does; None as its result says that it could not.
        omits: the checks that have to be forgotten, each of them; with none, nobody can tell.
        patch_level: of the platform on which it works.
        user: whom the host meets.
    """

    name: str
    move: Callable[[Site, bytes], Offer | None]
    omits: frozenset[str]
    patch_level: int = PATCH_LEVEL
    user: Callable[[Site, Collection[str]], RelyingParty] = Site.user


def _scenarios() -> dict[str, Scenario]:
    """The table. The user is careful but for what she omits."""

    def early(site: Site, omits: Collection[str]) -> RelyingParty:
        return site.user(omits, at=BEFORE)

    def stale(site: Site, omits: Collection[str]) -> RelyingParty:
        return site.user(omits, site.collateral(BEFORE))

    def simulated(site: Site, omits: Collection[str]) -> RelyingParty:
        return site.user(omits, simulator(site.host.tee.name).collateral())

    roots = "PCK.ROOT TCB_INFO.ROOT QE_IDENTITY.ROOT"
    dates = "CRLS.CURRENT TCB_INFO.CURRENT QE_IDENTITY.CURRENT"
    # fmt: off
    rows: tuple[tuple[Any, ...], ...] = (
        ("replayed evidence",   replayed,       "EVIDENCE.NONCE"),
        ("relayed evidence",    relayed,        "EVIDENCE.CHANNEL"),
        ("swapped key",         swapped_key,    "EVIDENCE.CUSTOM_CLAIMS"),
        ("debug enclave",       debug,          "POLICY.DEBUG"),
        ("old version",         old_version,    "POLICY.VERSION"),
        ("wrong signer",        wrong_signer,   "POLICY.SIGNER"),
        ("simulator",           other_root,     roots,                 1, simulated),
        ("stolen key",          stolen_key,     "",                    0, early),
        ("unpatched platform",  stolen_key,     "POLICY.TCB_STATUS",   0),
        ("revoked platform",    stolen_key,     "PCK.NOT_REVOKED",     0, revoked),
        ("tampered collateral", stolen_key,     "TCB_INFO.SIGNATURE",  0, tampered),
        ("expired collateral",  stolen_key,     dates,                 0, stale),
        ("unsigned token",      unsigned_token, "TOKEN.SIGNATURE",     1, token_user),
        ("other audience",      other_audience, "TOKEN.AUDIENCE",      1, token_user),
    )
    # fmt: on
    return {
        name: Scenario(name, move, frozenset(omits.split()), *rest)
        for name, move, omits, *rest in rows
    }


SCENARIOS = _scenarios()


def play(name: str, site: Site, omits: Collection[str] = ()) -> Outcome:
    """One scenario: challenge, answer, and what comes of it.

    Args:
        name: see `SCENARIOS`.
        site: a server at the scenario's patch level.
        omits: names of checks that the user forgets to make.

    Raises:
        UsageError: there is no such scenario.
    """
    known("scenario", [name], SCENARIOS)
    scenario = SCENARIOS[name]
    user = scenario.user(site, omits)
    offer = scenario.move(site, user.challenge())
    if offer is None:
        return stopped(site.host, "the attestation key was not to be had")
    result = user.judge(offer.evidence, offer.channel)
    if not result.accepted:
        check = next(c for c in (*result.failed, *result.checks) if not c.passed)
        return Outcome("blocked", f"the user refuses: {check.why}", check.name)
    message = user.release(offer.evidence, SECRET, offer.channel)
    if offer.gone is not None and offer.gone.lost:
        return Outcome("succeeds", "the user sent her secret to an enclave that is gone")
    if (leaked := offer.open(message)) == SECRET:
        return Outcome("succeeds", "the host holds the user's secret", leaked=leaked)
    return stopped(site.host, "what the user sent tells the host nothing", "")


@cache
def simulator(tee: str) -> Site:
    """The host's own machine, or a program that behaves like one: no key in it is secret."""
    return Site(tee, simulated_intel(666), seed=666, without={"BUFFERS.CLEARED"})


@cache
def twin(tee: str, patch_level: int, without: frozenset[str]) -> Site:
    """A site on a platform like this one: provisioning takes long, and no attack wears it out."""
    return Site(tee, patch_level=patch_level, without=without)


# The rows of the matrix


def _scene(name: str) -> Callable[[Platform], tuple[str]]:
    """A stage: the scenario is set up by `play`."""
    return lambda host: (name,)


def _both(name: str) -> tuple[Variant, ...]:
    """A Relying Party that makes every check, and one that forgets what the scenario needs."""
    return (
        Variant("careful Relying Party", omits=frozenset()),
        Variant("careless Relying Party", omits=SCENARIOS[name].omits),
    )


def convince(host: Platform, name: str, omits: Collection[str]) -> Outcome:
    """Play one scenario on a server like this one.

    Args:
        host: the platform; its host is the adversary.
        name: of the scenario.
        omits: names of checks that the Relying Party forgets.
    """
    return play(name, twin(host.tee.name, host.patch_level, host.checks.without), omits)


stale_evidence, relayed_evidence, attested_impostor = (
    Attack(name, row, title, source, convince, _scene(scene), only=SGX, variants=_both(scene))
    for name, row, title, source, scene in (
        ("stale_evidence", 28, "Stale evidence", "RFC 9334, Freshness", "replayed evidence"),
        ("relayed_evidence", 28, "Relayed evidence", "Parno 2008 (cuckoo)", "relayed evidence"),
        ("attested_impostor", 36, "Impostor, seen from afar", "RFC 9334", "wrong signer"),
    )
)
stolen_attestation_key = Attack(
    "stolen_attestation_key",
    30,
    "Stolen attestation key",
    "van Schaik et al. 2020 (SGAxe); Borrello et al. 2022 (AEPIC Leak); the leak is a model",
    convince,
    _scene("stolen key"),
    proves=("BUFFERS.CLEARED",),
    only=SGX,
    variants=(
        Variant("patched", omits=frozenset()),
        Variant("as sold", 0, omits=frozenset()),
        Variant("as sold, after TCB recovery", 0, _scene("unpatched platform"), frozenset()),
    ),
)
