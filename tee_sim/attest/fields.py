"""Fields of a JSON object, each of the type that is expected, or a `LayoutError` that names it."""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Any

from tee_sim.errors import LayoutError

MOST_JSON = 4 << 20
"""Longest JSON text that is read; Intel's longest is about 300,000 characters."""

_DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII)
_HEX = re.compile("[0-9A-Fa-f]*")


def json_object(text: str | bytes, what: str) -> dict[str, Any]:
    """A JSON text that holds an object, neither too long nor too deep; else `LayoutError`.

    No name is there twice: another reader might take the other value.
    """
    if len(text) > MOST_JSON:
        raise LayoutError(f"{what}: more than {MOST_JSON >> 20} MiB")
    try:
        data = json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError
        raise LayoutError(f"{what}: no JSON: {error}") from None
    if not isinstance(data, dict):
        raise LayoutError(f"{what}: a JSON {type(data).__name__}, not an object")
    return data


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is there twice in one object")
    return found


class Fields:
    """The fields of ``data``, an object that messages call ``what``."""

    def __init__(self, data: dict[str, Any], what: str) -> None:
        self.data, self._what = data, what

    def wrong(self, name: str, why: str) -> LayoutError:
        """The error that a field is."""
        return LayoutError(f"{self._what}: '{name}' {why}")

    def _get(self, name: str, kind: type[Any]) -> Any:
        value = self.data.get(name)
        if type(value) is not kind:
            raise self.wrong(name, f"is no {kind.__name__}" if name in self.data else "is missing")
        return value

    def text(self, name: str, *allowed: str) -> str:
        """A string; if any are given, one of those that are allowed."""
        value: str = self._get(name, str)
        if allowed and value not in allowed:
            raise self.wrong(name, f"is {value[:40]!r}, none of {', '.join(allowed)}")
        return value

    def number(self, name: str, most: int = 0xFFFF) -> int:
        """An integer from 0 to ``most``."""
        value: int = self._get(name, int)
        if not 0 <= value <= most:
            raise self.wrong(name, f"is not in 0-{most}")
        return value

    def hex(self, name: str, size: int | None = None) -> bytes:
        """That many bytes, in hexadecimal."""
        value = self._get(name, str)
        if not _HEX.fullmatch(value) or len(value) != 2 * (
            len(value) // 2 if size is None else size
        ):
            raise self.wrong(name, f"is not {size or 'whole'} bytes in hexadecimal")
        return bytes.fromhex(value)

    def hexes(self, name: str, size: int) -> list[bytes]:
        """An array of byte strings of that size."""
        return [Fields({name: each}, self._what).hex(name, size) for each in self.array(name)]

    def date(self, name: str) -> int:
        """A time as Intel writes it, ``2025-06-19T10:56:11Z``, in Unix seconds."""
        value = self._get(name, str)
        try:
            if _DATE.fullmatch(value):
                return int(datetime.fromisoformat(value).timestamp())
        except ValueError:
            pass
        raise self.wrong(name, "is no date")

    def child(self, name: str) -> Fields:
        """An object."""
        return Fields(self._get(name, dict), f"{self._what}.{name}")

    def array(self, name: str) -> list[Any]:
        """An array of anything."""
        values: list[Any] = self._get(name, list)
        return values

    def children(self, name: str) -> list[Fields]:
        """An array of objects, not empty."""
        values = self.array(name)
        if not values or not all(isinstance(value, dict) for value in values):
            raise self.wrong(name, "is empty, or holds what is no object")
        return [Fields(value, f"{self._what}.{name}") for value in values]

    def texts(self, name: str) -> tuple[str, ...]:
        """An array of strings; none if the field is missing."""
        values = self.array(name) if name in self.data else []
        if not all(isinstance(value, str) for value in values):
            raise self.wrong(name, "holds what is no string")
        return tuple(values)
