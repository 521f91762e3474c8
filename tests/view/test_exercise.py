"""Exercises: they judge the cause, hint step by step, and never show the answer."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tee_sim.checks import Check
from tee_sim.errors import EnclaveLost, PageFault, UsageError
from tee_sim.trace import Leaf, Recorder, Refusal
from tee_sim.view import Exercise, cause_is, predict, seal
from tee_sim.view.exercise import matches, normalise

VALID = Check("EPCM.VALID", "The page is in use", "Use of a free page.", "SDM")
ADDRESS = Check("EPCM.ENCLAVEADDRESS", "The page belongs elsewhere", "A page swap.", "SDM")


def said(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().out.rstrip("\n")


def test_no_answer_is_safe(capsys: pytest.CaptureFixture[str]) -> None:
    exercise = Exercise("How many?", seal(16, "1"))
    exercise.check()
    assert said(capsys) == "Not answered yet."
    assert not exercise.solved


def test_a_sealed_answer_is_recognised(capsys: pytest.CaptureFixture[str]) -> None:
    exercise = Exercise("How many EEXTENDs for one page?", seal(16, "1"))
    exercise.check(15)
    assert said(capsys) == "Not yet."
    for answer in (16, "16", " 0x10 "):
        exercise.check(answer)
        assert said(capsys) == "Right."
    assert exercise.solved
    assert repr(exercise) == "Exercise(How many EEXTENDs for one page?: solved)"


def test_any_of_several_answers_may_be_right(capsys: pytest.CaptureFixture[str]) -> None:
    exercise = Exercise("Which bus?", [seal("memory", "2"), seal("the memory bus", "2")])
    exercise.check("The  memory bus.")
    assert said(capsys) == "Right."


def test_the_answer_is_not_in_sight() -> None:
    sealed = seal("EPCM.ENCLAVEADDRESS", "swap")
    exercise = Exercise("Which check?", sealed, hints=["Look at the trace."])
    for text in (sealed, repr(exercise), exercise._repr_html_()):
        assert "enclaveaddress" not in text.casefold()
    assert sealed not in exercise._repr_html_()


def test_choices_are_answered_by_letter_or_by_text(capsys: pytest.CaptureFixture[str]) -> None:
    exercise = Exercise("Read?", seal("ciphertext", "3"), choices=["plaintext", "ciphertext"])
    for answer in ("B", "b)", "ciphertext", "Ciphertext"):
        exercise.check(answer)
        assert said(capsys) == "Right."
    exercise.check("A")
    assert said(capsys) == "Not yet."
    exercise.check("zeros")
    assert said(capsys) == "Answer with one of the choices, A to B."
    assert "plaintext" in exercise._repr_html_()


def test_hints_come_one_by_one(capsys: pytest.CaptureFixture[str]) -> None:
    exercise = Exercise("?", seal("x", "4"), hints=["Look left.", "Look right."])
    exercise.check("y")
    assert said(capsys) == "Not yet. .hint() helps (2 left)."
    exercise.hint()
    assert said(capsys) == "Hint 1 of 2: Look left."
    exercise.hint()
    assert said(capsys) == "Hint 2 of 2: Look right."
    exercise.hint()
    assert said(capsys) == "There are no more hints."
    exercise.check("y")
    assert said(capsys) == "Not yet."


def test_the_cause_is_judged_not_the_refusal(capsys: pytest.CaptureFixture[str]) -> None:
    exercise = Exercise("Swap two pages.", cause_is(seal("EPCM.ENCLAVEADDRESS", "5")))
    exercise.check(SimpleNamespace(verdict="blocked", check=VALID))
    wrong = "Not yet: it was EPCM.VALID that fired: another cause than the one asked for."
    assert said(capsys) == wrong
    exercise.check(SimpleNamespace(verdict="blocked", check="EPCM.ENCLAVEADDRESS"))
    assert said(capsys) == "Right: EPCM.ENCLAVEADDRESS is what stopped it."
    exercise.check(PageFault("no", check=ADDRESS))
    assert said(capsys).startswith("Right")


def test_the_cause_is_found_in_a_trace(capsys: pytest.CaptureFixture[str]) -> None:
    exercise = Exercise("Swap two pages.", cause_is(seal("EPCM.ENCLAVEADDRESS", "5")))
    heard = Recorder()
    heard(Leaf("EENTER", ""))
    exercise.check(heard)
    assert said(capsys) == "Not yet: no check refused anything there."
    heard(Refusal(VALID, "first"))
    heard(Refusal(ADDRESS, "then"))
    exercise.check(heard)
    assert said(capsys).startswith("Right")
    exercise.check(heard.events[:2])
    assert said(capsys).startswith("Not yet")
    exercise.check("EPCM.ENCLAVEADDRESS")
    assert said(capsys) == "Not yet: no check refused anything there."


def test_the_cause_is_found_in_a_lost_enclave(capsys: pytest.CaptureFixture[str]) -> None:
    exercise = Exercise("Swap two pages.", cause_is(seal("EPCM.ENCLAVEADDRESS", "5")))
    exercise.check(EnclaveLost("gone", fault=PageFault("no", check=ADDRESS)))
    assert said(capsys).startswith("Right")
    exercise.check(EnclaveLost("gone"))
    assert said(capsys) == "Not yet: no check refused anything there."


def test_a_predicate_may_answer_yes_or_no(capsys: pytest.CaptureFixture[str]) -> None:
    exercise = Exercise("An even number?", lambda n: n % 2 == 0)
    exercise.check(3)
    assert said(capsys) == "Not yet."
    exercise.check(4)
    assert said(capsys) == "Right."


@pytest.mark.parametrize("answer", ["EPCM.VALID", ["EPCM.VALID"]])
def test_an_answer_in_the_clear_is_refused(answer: str | list[str]) -> None:
    with pytest.raises(UsageError, match="seal"):
        Exercise("?", answer)


def test_a_salt_without_a_dollar_is_required() -> None:
    with pytest.raises(UsageError, match="salt"):
        seal("x", "a$b")


@given(st.text(), st.text().filter(lambda salt: "$" not in salt))
def test_a_sealed_answer_matches_itself_only(answer: str, salt: str) -> None:
    sealed = seal(answer, salt)
    assert matches(answer, sealed)
    assert not matches(normalise(answer) + "z", sealed)


def test_spelling_does_not_matter() -> None:
    assert normalise("0x10") == normalise(16) == normalise(" 16 ") == "16"
    assert normalise(True) == "yes"
    assert normalise({"b", "A"}) == "a,b"
    assert normalise(b"\x01\xff") == "01ff"


def test_a_prediction_is_shown_beside_what_happened() -> None:
    guess = predict("Does the host read it?", "no", choices=["yes", "no", "ciphertext"])
    assert repr(guess) == "Prediction(Does the host read it?: no)"
    assert "&quot;yes&quot;, &quot;no&quot;, &quot;ciphertext&quot;" in guess._repr_html_()
    shown = guess.happened("ciphertext", "the engine encrypts")._repr_html_()
    assert "<dt>you predicted</dt><dd>no</dd><dt>it happened</dt><dd>ciphertext</dd>" in shown
    assert "Not what you predicted" in shown
    assert "As you predicted" in guess.happened("No")._repr_html_()


def test_no_prediction_is_safe() -> None:
    guess = predict("Does the host read it?")
    assert repr(guess) == "Prediction(Does the host read it?: none yet)"
    assert "predict before you run" in guess.happened("no").body


def test_a_prediction_must_be_one_of_the_choices() -> None:
    with pytest.raises(UsageError, match='"yes", "no"'):
        predict("?", "perhaps", choices=["yes", "no"])
