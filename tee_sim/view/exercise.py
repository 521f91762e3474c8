"""Exercises that check themselves without giving the answer away.

The notebook holds only a salted hash of the answer (`seal`), or a predicate that looks at what
the student's attack did and judges its *cause*: not "it was refused" but "this check refused
it". A hash of a short answer can be guessed by a program; it only has to keep the answer out of
sight.
"""

from __future__ import annotations

import hashlib
import string
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from tee_sim.errors import TeeSimError, UsageError
from tee_sim.trace import Refusal
from tee_sim.view.cards import Line, card
from tee_sim.view.markup import Html, clean

Judgement = bool | tuple[bool, str]
"""Right or not; with a sentence for the student if there is more to say."""

Predicate = Callable[[Any], Judgement]


def normalise(answer: object) -> str:
    """One spelling for each answer: case, spaces and the base of a number do not matter."""
    if isinstance(answer, bool):
        return "yes" if answer else "no"
    if isinstance(answer, bytes):
        return answer.hex()
    if isinstance(answer, (set, frozenset)):
        return ",".join(sorted(normalise(item) for item in answer))
    if isinstance(answer, (list, tuple)):
        return ",".join(normalise(item) for item in answer)
    text = " ".join(str(answer).casefold().split()).rstrip(".!")
    try:
        return str(int(text, 0))
    except ValueError:
        return text


def seal(answer: object, salt: str) -> str:
    """The form in which an answer stands in a notebook: ``salt$digest``.

    Authors call this once, outside the notebook. ``salt`` is any word without ``$``, e.g. the
    exercise's number.
    """
    if "$" in salt:
        raise UsageError("a salt must not contain '$'")
    digest = hashlib.sha256(f"{salt}\0{normalise(answer)}".encode("utf-8", "replace")).hexdigest()
    return f"{salt}${digest[:32]}"


def matches(answer: object, sealed: str) -> bool:
    """Whether ``answer`` is the one in ``sealed``."""
    salt, found, _ = sealed.partition("$")
    if not found:
        raise UsageError("a sealed answer reads salt$digest; make one with seal(answer, salt)")
    return seal(answer, salt) == sealed


def _is_one_of(sealed: Sequence[str]) -> Predicate:
    """A predicate: the answer is one of the sealed ones."""
    for one in sealed:
        matches("", one)  # refuses what is not sealed
    return lambda answer: any(matches(answer, one) for one in sealed)


def cause_is(*sealed: str) -> Predicate:
    """A predicate: the thing that the student hands in was stopped by the check meant here.

    It takes an attack's outcome or an error (anything with a ``check``, or with a ``fault`` that
    has one), a list of events (the last `Refusal` counts) or a `Recorder`. The check's name is
    sealed like any answer; more than one may be right.
    """
    right = _is_one_of(sealed)

    def judge(answer: Any) -> Judgement:
        fired = _fired(answer)
        if not fired:
            return False, "no check refused anything there"
        if right(fired):
            return True, f"{fired} is what stopped it"
        return False, f"it was {fired} that fired: another cause than the one asked for"

    return judge


def _fired(answer: Any) -> str:
    """Name of the check that fired; empty if none did."""
    # An outcome and a fault have a check, a lost enclave has the fault that ended it.
    check = getattr(answer, "check", None) or getattr(getattr(answer, "fault", None), "check", None)
    if check is not None:
        return str(getattr(check, "name", check))
    events = getattr(answer, "events", answer)
    if isinstance(events, str) or not isinstance(events, Iterable):
        return ""
    refusals = [event for event in events if isinstance(event, Refusal)]
    return refusals[-1].check.name if refusals else ""


class Exercise:
    """A question that checks its own answer.

    Args:
        question: what to find out.
        answer: a sealed answer, or several of which any is right, or a predicate.
        choices: the possible answers, if it is multiple choice; shown as A, B, C ...
        hints: given one by one, by `hint`. They should point to a place to look.
    """

    def __init__(
        self, question: str, answer: str | Sequence[str] | Predicate, *,
        choices: Sequence[str] = (), hints: Sequence[str] = (),
    ) -> None:  # fmt: skip
        self.question, self.choices, self.hints = clean(question), tuple(choices), tuple(hints)
        self.solved = False
        self._given = 0
        if len(self.choices) > 26:
            raise UsageError("an exercise has at most 26 choices")
        if callable(answer):
            self._judge = answer
        else:
            self._judge = _is_one_of((answer,) if isinstance(answer, str) else tuple(answer))

    def __repr__(self) -> str:
        state = "solved" if self.solved else "not solved yet"
        return f"Exercise({' '.join(self.question.split())}: {state})"

    def _repr_html_(self) -> str:
        lines: list[Line] = list(zip(string.ascii_uppercase, self.choices, strict=False))
        how = "Check your answer with .check(answer)"
        lines.append(f"{how}; .hint() helps." if self.hints else f"{how}.")
        return card("exercise", self.question, lines).body

    def check(self, answer: Any = None) -> None:
        """Print one line that says whether ``answer`` is right. None means: no answer yet."""
        if answer is None:
            print("Not answered yet.")
            return
        picked, problem = self._pick(answer)
        if problem:
            print(problem)
            return
        try:
            verdict = self._judge(picked)
        except TeeSimError as error:
            verdict = False, str(error).rstrip(".")
        self.solved, why = verdict if isinstance(verdict, tuple) else (bool(verdict), "")
        if self.solved:
            print(f"Right: {why}." if why else "Right.")
            return
        left = len(self.hints) - self._given
        helps = f" .hint() helps ({left} left)." if left else ""
        print((f"Not yet: {why}." if why else "Not yet.") + helps)

    def hint(self) -> None:
        """Print the next hint."""
        if self._given >= len(self.hints):
            print("There are no more hints." if self.hints else "This exercise has no hints.")
            return
        self._given += 1
        print(f"Hint {self._given} of {len(self.hints)}: {self.hints[self._given - 1]}")

    def _pick(self, answer: Any) -> tuple[Any, str]:
        """The choice that ``answer`` stands for, or a sentence about what is wrong with it."""
        if not self.choices or not isinstance(answer, str):
            return answer, ""
        letters = string.ascii_uppercase[: len(self.choices)]
        by_text = {normalise(choice): choice for choice in self.choices}
        if normalise(answer) in by_text:
            return by_text[normalise(answer)], ""
        letter = answer.strip().upper().rstrip(").")
        if len(letter) == 1 and letter in letters:
            return self.choices[letters.index(letter)], ""
        return None, f"Answer with one of the choices, {letters[0]} to {letters[-1]}."


def _quoted(choices: Iterable[str]) -> str:
    """The choices as they are to be typed; some have commas of their own."""
    return ", ".join(f'"{choice}"' for choice in choices)


class Prediction:
    """What a student expects before the experiment, kept until it has happened.

    Args:
        question: what will happen?
        guess: the expectation; None is "not yet", so that a notebook can run as it is.
        choices: the possible guesses; none for any.

    Raises:
        UsageError: there are choices and the guess is none of them.
    """

    def __init__(
        self, question: str, guess: str | None = None, *, choices: Sequence[str] = ()
    ) -> None:
        if guess is not None and choices and normalise(guess) not in map(normalise, choices):
            raise UsageError(f"predict one of: {_quoted(choices)}")
        self.question, self.choices = clean(question), tuple(choices)
        self.guess = None if guess is None else clean(guess)

    def __repr__(self) -> str:
        return f"Prediction({' '.join(self.question.split())}: {self.guess or 'none yet'})"

    def _repr_html_(self) -> str:
        lines: list[Line] = [("choices", _quoted(self.choices))] if self.choices else []
        return card("prediction", self.question, [*lines, ("you predict", self._words())]).body

    def _words(self) -> str:
        return self.guess if self.guess is not None else "(no prediction yet)"

    def happened(self, what: object, because: str = "") -> Html:
        """The prediction beside what happened.

        Args:
            what: what happened; a verdict or a few words, compared like an exercise's answer.
            because: the cause, in one sentence.
        """
        lines: list[Line] = [("you predicted", self._words()), ("it happened", clean(what))]
        if because:
            lines.append(("because", because))
        if self.guess is None:
            lines.append("Next time, predict before you run: that is where you learn most.")
        elif normalise(self.guess) == normalise(what):
            lines.append("As you predicted. Was it for this reason?")
        else:
            lines.append("Not what you predicted. What did your picture of it leave out?")
        return card("prediction", self.question, lines)


predict = Prediction
