"""The house at night: its lights change blocks of their own column."""

from __future__ import annotations

import pytest

from tee_sim.errors import UsageError
from tee_sim.view import changed_blocks, house, secret_house

PAGE = 4096


def test_a_house_is_a_page() -> None:
    assert {len(house(digit)) for digit in (None, *range(10))} == {PAGE}
    assert len({house(digit) for digit in (None, *range(10))}) == 11


def test_the_changed_blocks_form_the_digit() -> None:
    changed = changed_blocks(house(), house(7))
    floors = [range(7 + 8 * floor, 15 + 8 * floor) for floor in range(7)]
    lit = [
        "".join("#" if {4 * y + column for y in floor} & changed else "." for column in range(4))
        for floor in floors
    ]
    assert lit == ["####", "...#", "...#", "..#.", ".#..", ".#..", ".#.."]


def test_a_secret_house_is_one_of_the_ten() -> None:
    assert secret_house("a word") == secret_house("a word")
    assert secret_house("a word") in {house(digit) for digit in range(10)}


def test_a_digit_is_a_digit() -> None:
    with pytest.raises(UsageError, match="0 to 9"):
        house(10)
