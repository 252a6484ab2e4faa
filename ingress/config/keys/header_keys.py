"""The config keys of header rules: `set`, `add` and `remove` under `requestHeaders` and `responseHeaders`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pyconnector.ingress.config.keys.kinds import Kind, ListOf, Text
from pyconnector.ingress.config.keys.table import Key, Section, Table
from pyconnector.ingress.rules.header_rules import MAX_FIELDS, HeaderRules, check_name, check_value

if TYPE_CHECKING:
    from pyconnector.ingress.config.errors import ConfigPath
    from pyconnector.ingress.config.keys.kinds import Reader


class _FieldLines(Kind[tuple[tuple[bytes, bytes], ...]]):
    """Header fields by name; a value is a text or a list of texts. Values are never quoted in a problem."""

    example = "a mapping of header names to values"
    shown = "mapping"

    def _read(self, value: object, path: ConfigPath, reader: Reader) -> tuple[tuple[bytes, bytes], ...] | None:
        if not isinstance(value, Mapping):
            reader.problems.add(path, str(self.wrong(value, quote=False)))
            return None
        lines: list[tuple[bytes, bytes]] = []
        before = reader.problems.errors
        for name, entry in value.items():
            place = (*path, str(name))
            try:
                field = check_name(name if isinstance(name, str) else "").encode()
            except ValueError as error:
                reader.problems.add(place, str(error), at_key=True)
                continue
            try:
                lines += [
                    (field, _field_value(text)) for text in (entry if isinstance(entry, list | tuple) else (entry,))
                ]
            except ValueError as error:
                reader.problems.add(place, str(error))
            if len(lines) > MAX_FIELDS:
                reader.problems.add(path, f"more than {MAX_FIELDS} header fields")
                break
        return tuple(lines) if reader.problems.errors == before else None

    def _schema(self) -> dict[str, Any]:
        text = {"type": ["string", "integer"]}
        return {"type": "object", "additionalProperties": {"anyOf": [text, {"type": "array", "items": text}]}}


def _field_value(value: object) -> bytes:
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() < 128:
        value = str(value)
    if not isinstance(value, str):
        raise ValueError("expected a text as the value; put it in quotes")  # noqa: TRY004 - a problem, not a bug
    return check_value(value)


class _FieldName(Text):
    """A header name that may be removed, kept in lower case."""

    def _parse(self, value: object, *, remote: bool) -> str:
        return check_name(super()._parse(value, remote=remote), removing=True).lower()


_HEADERS = Table(
    keys=(
        Key(name="set", kind=_FieldLines(), meaning="Fields that replace all those of their name."),
        Key(name="add", kind=_FieldLines(), meaning="Fields that come beside those of their name."),
        Key(
            name="remove",
            kind=ListOf(
                _FieldName(example="the name of a header field"), example="a list of header names", limit=MAX_FIELDS
            ),
            meaning="Names of fields that are taken out.",
            also_tried=("delete", "removeHeaders"),
        ),
    ),
)


def _build_headers(values: dict[str, Any], path: ConfigPath, reader: Reader) -> HeaderRules | None:
    named = [name.lower() for name, _ in values.get("set", ())]
    if len(named) != len(set(named)):
        reader.problems.add((*path, "set"), "a field is set twice; use add for a second one")
    if not any(values.values()):
        reader.problems.add(path, "nothing is set, added or removed")
    remove = tuple(name.encode() for name in values.get("remove", ()))
    return HeaderRules(set=values.get("set", ()), add=values.get("add", ()), remove=remove)


HEADERS_KIND = Section(table=_HEADERS, build=_build_headers, example="a mapping with set, add and remove")
