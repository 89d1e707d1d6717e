"""A table of a board's file, read key by key."""

from collections.abc import Mapping
from typing import Any

from tinycompiler.errors import BoardError


class Table:
    """A TOML table that knows its place, and which of its keys nobody asked for."""

    def __init__(self, place: str, values: dict[str, Any]) -> None:
        self.place = place
        self._values = dict(values)

    def take(self, key: str, kind: type, wanted: str) -> Any:
        if key not in self._values:
            raise BoardError(f"{self.place}: key {key!r} is missing; wanted {wanted}")
        value = self._values.pop(key)
        if type(value) is not kind:  # not isinstance: a TOML true is not a size
            raise BoardError(f"{self.place}: {key} is {value!r}; wanted {wanted}")
        return value

    def text(self, key: str, among: Mapping[str, object] | tuple[str, ...] = ()) -> str:
        value: str = self.take(key, str, "a text")
        if not value or (among and value not in among):
            wanted = ", ".join(among) if among else "a text that is not empty"
            raise BoardError(f"{self.place}: {key} is {value!r}; wanted one of: {wanted}")
        return value

    def optional_text(self, key: str) -> str | None:
        return self.text(key) if key in self._values else None

    def number(self, key: str, *, least: int = 0) -> int:
        value: int = self.take(key, int, "a whole number")
        if not least <= value < 2**32:
            raise BoardError(f"{self.place}: {key} is {value}; wanted {least} to 2^32 - 1")
        return value

    def optional_number(self, key: str, *, least: int) -> int | None:
        return self.number(key, least=least) if key in self._values else None

    def table(self, key: str) -> "Table":
        return Table(f"{self.place}, [{key}]", self.take(key, dict, "a table"))

    def has(self, key: str) -> bool:
        return key in self._values

    def left(self) -> tuple[str, ...]:
        return tuple(self._values)

    def finish(self) -> None:
        if self._values:
            raise BoardError(
                f"{self.place}: unknown key {sorted(self._values)[0]!r}; remove it or correct its spelling"
            )
