"""Fields of a JSON object, each of the type that is expected, or a `LayoutError` that names it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tee_sim.errors import LayoutError

MOST_JSON = 16 << 20
"""Longest JSON text, in characters, that is read; Intel's longest is about 300,000."""

_DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII)


def json_object(text: str | bytes, what: str) -> dict[str, Any]:
    """A JSON text that holds an object.

    Raises:
        LayoutError: it does not, or it is too long or too deep.
    """
    if len(text) > MOST_JSON:
        raise LayoutError(f"{what}: more than {MOST_JSON >> 20} MiB")
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError
        raise LayoutError(f"{what}: no JSON: {error}") from None
    if not isinstance(data, dict):
        raise LayoutError(f"{what}: a JSON {type(data).__name__}, not an object")
    return data


class Fields:
    """The fields of one object.

    Args:
        data: the object.
        what: what it is called in messages.
    """

    def __init__(self, data: Mapping[str, Any], what: str) -> None:
        self._data, self._what = data, what

    def has(self, name: str) -> bool:
        """Whether there is such a field."""
        return name in self._data

    def _get(self, name: str, kind: type[Any]) -> Any:
        if name not in self._data:
            raise LayoutError(f"{self._what}: no '{name}'")
        value = self._data[name]
        if not isinstance(value, kind) or isinstance(value, bool):
            raise LayoutError(f"{self._what}: '{name}' is no {kind.__name__}")
        return value

    def text(self, name: str, *allowed: str) -> str:
        """A string; if any are given, one of those that are allowed."""
        value: str = self._get(name, str)
        if allowed and value not in allowed:
            raise LayoutError(f"{self._what}: '{name}' is {value[:40]!r}, none of {allowed}")
        return value

    def number(self, name: str, most: int) -> int:
        """An integer from 0 to ``most``."""
        value: int = self._get(name, int)
        if not 0 <= value <= most:
            raise LayoutError(f"{self._what}: '{name}' is not in 0-{most}")
        return value

    def hex(self, name: str, size: int) -> bytes:
        """That many bytes, in hexadecimal."""
        value = self._get(name, str)
        if len(value) != 2 * size or not re.fullmatch("[0-9A-Fa-f]*", value):
            raise LayoutError(f"{self._what}: '{name}' is not {size} bytes in hexadecimal")
        return bytes.fromhex(value)

    def date(self, name: str) -> int:
        """A time as Intel writes it, ``2025-06-19T10:56:11Z``, in Unix seconds."""
        value = self._get(name, str)
        try:
            if _DATE.fullmatch(value):
                return int(datetime.fromisoformat(value).timestamp())
        except ValueError:
            pass
        raise LayoutError(f"{self._what}: '{name}' is no date")

    def child(self, name: str) -> Fields:
        """An object."""
        return Fields(self._get(name, dict), f"{self._what}.{name}")

    def children(self, name: str, exactly: int | None = None) -> list[Fields]:
        """An array of objects, not empty."""
        values = self._get(name, list)
        if not values or (exactly is not None and len(values) != exactly):
            raise LayoutError(f"{self._what}: '{name}' has {len(values)} entries")
        if not all(isinstance(value, dict) for value in values):
            raise LayoutError(f"{self._what}: '{name}' holds what is no object")
        return [Fields(value, f"{self._what}.{name}[{n}]") for n, value in enumerate(values)]

    def texts(self, name: str) -> tuple[str, ...]:
        """An array of strings; none if the field is missing."""
        values = self._get(name, list) if name in self._data else []
        if not all(isinstance(value, str) for value in values):
            raise LayoutError(f"{self._what}: '{name}' holds what is no string")
        return tuple(values)
