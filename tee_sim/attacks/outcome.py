"""What an attack is, and how it can end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from html import escape
from typing import TYPE_CHECKING, Any, Literal, get_args

from tee_sim.checks import PATCH_LEVEL
from tee_sim.errors import EnclaveLost, MachineCheck, TeeSimError, UsageError
from tee_sim.html import table

if TYPE_CHECKING:
    from tee_sim.platform import DeployedEnclave, Platform

Verdict = Literal["blocked", "detected", "ciphertext", "succeeds", "not-applicable"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
STOPPED: tuple[Verdict, ...] = ("blocked", "detected", "ciphertext")
"""Verdicts under which the attacker did not get what it wanted."""
SYMBOLS = {
    "blocked": "■",
    "detected": "◆",
    "ciphertext": "≈",
    "succeeds": "✗",
    "not-applicable": "○",
}
"""A sign for each verdict, so that no table rests on colour alone."""


@dataclass(frozen=True)
class Outcome:
    """How one attack ended on one platform.

    Attributes:
        verdict: one of `VERDICTS`.
        detail: one sentence on what was seen.
        check: name of the check that stopped it; empty if none did.
        layers: every check that had to be switched off, in order, until the verdict changed;
            filled in by the matrix.
        variant: which program or option, where the row has several.
        leaked: what the attacker got hold of.
    """

    verdict: Verdict
    detail: str
    check: str = ""
    layers: tuple[str, ...] = ()
    variant: str = ""
    leaked: bytes = b""

    def __str__(self) -> str:
        by = f" by {self.check}" if self.check else ""
        return f"{self.verdict}{by}: {self.detail}"

    def _repr_html_(self) -> str:
        by = f" by <b>{escape(self.check)}</b>" if self.check else ""
        return f"<p>{SYMBOLS[self.verdict]} <b>{self.verdict}</b>{by}: {escape(self.detail)}</p>"


Stage = Callable[["Platform"], tuple[Any, ...]]


@dataclass(frozen=True)
class Variant:
    """One way to run an attack whose end depends on updates, or on the program inside.

    Attributes:
        name: what the matrix shows; empty if there is only one way.
        patch_level: of the platform, see `Platform`.
        stage: prepares another victim than the attack's own stage does; None for the latter.
        omits: in attacks on a Relying Party, the checks that it forgets; None in all others.
    """

    name: str = ""
    patch_level: int = PATCH_LEVEL
    stage: Stage | None = None
    omits: frozenset[str] | None = None


@dataclass(frozen=True)
class Attack:
    """One attack: a script against the adversary's API, and the scene that it needs.

    Attributes:
        name: as on the command line.
        row: its row in the matrix; 0 for a proof of one check.
        title: one line.
        reference: who published it, or what it rests on.
        script: the attack itself.
        stage: prepares the victim as its owner would; returns the script's further arguments.
        proves: names of the checks that it is the proof of.
        only: platforms to which it applies; empty for all.
        variants: the ways to run it; each is a row of its own in the computed matrix.
        unverified: platforms on which nobody has published how it ends: the model's answer.
    """

    name: str
    row: int
    title: str
    reference: str
    script: Callable[..., Outcome]
    stage: Stage
    proves: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    variants: tuple[Variant, ...] = (Variant(),)
    unverified: tuple[str, ...] = ()

    def __call__(self, host: Platform, *arguments: Any) -> Outcome:
        """Run the script on a scene that the caller has prepared.

        Raises:
            UsageError: the scene does not fit: a victim that is lost or lives on another platform,
                a digest that is none, or nothing that could have stopped an attack that failed.
        """
        for argument in arguments:
            _require_usable(host, argument)
        host.checks.refusals.clear()  # what refused before has not stopped this attack
        return self.script(host, *arguments)

    def run(self, host: Platform, variant: Variant | None = None) -> Outcome:
        """Prepare the scene on a fresh platform and run the script.

        Args:
            host: the platform, at the variant's patch level.
            variant: one of ``variants``; None takes the first.
        """
        variant = variant or self.variants[0]
        if self.only and host.tee.name not in self.only:
            nothing = f"there is nothing to attack on {host.tee.title}"
            return Outcome("not-applicable", nothing, variant=variant.name)
        arguments = (variant.stage or self.stage)(host)
        if variant.omits is not None:
            arguments += (variant.omits,)
        outcome = self(host, *arguments)
        return replace(outcome, variant=variant.name)

    def __repr__(self) -> str:
        return f"<Attack {self.name}: {self.title}>"

    def _repr_html_(self) -> str:
        rows = [
            ("title", self.title),
            ("row of the matrix", str(self.row or "none: it proves a check")),
            ("reference", self.reference),
            ("proves", ", ".join(self.proves) or "no check alone"),
            ("does", self.__doc__ or ""),
        ]
        return table(f"Attack {self.name}", rows)

    @property
    def __doc__(self) -> str | None:  # type: ignore[override]
        """The script's own description."""
        return self.script.__doc__


def _require_usable(host: Platform, argument: object) -> None:
    """Raise UsageError for an argument of a script that would make its verdict a lie."""
    guest = getattr(argument, "guest", None)
    if isinstance(argument, str) and len(argument) == 64:
        raise UsageError(f"{argument[:16]}... is text: a digest is 32 bytes")
    if guest is not None and guest.host is not host.host:
        raise UsageError(f"{argument!r} runs on another platform than the one that is attacked")
    if guest is not None and guest.lost is not None:
        raise UsageError(f"{argument!r} is lost: deploy a new victim")


def attack(
    *,
    title: str,
    reference: str,
    stage: Stage,
    row: int = 0,
    proves: tuple[str, ...] = (),
    only: tuple[str, ...] = (),
    variants: tuple[Variant, ...] = (Variant(),),
    unverified: tuple[str, ...] = (),
) -> Callable[[Callable[..., Outcome]], Attack]:
    """Declare the function below as an attack; its name is the attack's."""

    def declare(script: Callable[..., Outcome]) -> Attack:
        name = script.__name__
        return Attack(
            name, row, title, reference, script, stage, proves, only, variants, unverified
        )

    return declare


def stopped(
    host: Platform, detail: str, check: str | None = None, among: tuple[str, ...] = ()
) -> Outcome:
    """The attack was blocked: by ``check``, or else by the last check that refused anything in it.

    An empty ``check`` says that none can stop this attack, or only one of those named ``among``.

    Raises:
        UsageError: no check refused anything, or the one that is named is not in force, so the
            scene was not the one that the attack needs.
    """
    names = [refusal.check.name for refusal in host.checks.refusals]
    if not check and (seen := [n for n in names if n in among or (check is None and not among)]):
        check = seen[-1]
    known = host.checks.known.get(check or "")
    if known is None or not host.checks.on(known):
        raise UsageError(
            f"the attack failed though no check stopped it ({detail}): prepare the victim as its "
            "description says, with the digest of its present secret"
        )
    return Outcome("blocked", detail, known.name)


def refused(error: TeeSimError, detail: str = "") -> Outcome:
    """The attack ran into an error; its check, if it has one, stopped the attack.

    A machine check comes too late to block anything, but in time for the victim not to act on
    what it read: detected.
    """
    cause = error.fault if isinstance(error, EnclaveLost) and error.fault else error
    check = str(getattr(cause, "check", None) or "")
    if isinstance(cause, MachineCheck):
        return Outcome("detected", detail or "the processor stopped the machine", check)
    return Outcome("blocked", detail or str(cause), check)


def ciphertext(host: Platform, detail: str) -> Outcome:
    """The attacker holds the right bytes, but encrypted."""
    return Outcome("ciphertext", detail, "MEM.ENCRYPTION" if _encrypts(host) else "")


def _encrypts(host: Platform) -> bool:
    check = host.checks.known.get("MEM.ENCRYPTION")
    return check is not None and host.checks.on(check)


def vault(host: Platform) -> tuple[DeployedEnclave, bytes]:
    """Stage: an owner deploys a vault and makes a secret in it, with the PIN 2718."""
    victim = host.create_enclave("vault")
    return victim, victim.make_secret("2718")


def careless(host: Platform) -> tuple[DeployedEnclave, bytes]:
    """Stage: an owner deploys the careless program and makes a secret in it."""
    victim = host.create_enclave("careless")
    return victim, victim.make_secret()


def nothing(host: Platform) -> tuple[()]:
    """Stage: the attack begins before anything is launched."""
    return ()
