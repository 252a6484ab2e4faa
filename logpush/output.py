"""The form in which records are pushed: `output_options` of a Logpush job (api.md 9). Pure."""

from __future__ import annotations

import csv
import datetime
import io
import json
import zlib
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

from pyconnector.logpush.datasets import MOMENTS
from pyconnector.logpush.templates import TemplateError, parse_template

Record: TypeAlias = dict[str, Any]
#: Characters of what stands around records, and of a template.
MAX_TEXT = 4000
_TIMES: dict[str, Callable[[datetime.datetime], int | str]] = {
    "unixnano": lambda moment: round(moment.timestamp() * 1000) * 1_000_000,
    "unix": lambda moment: int(moment.timestamp()),
    "rfc3339": lambda moment: _iso(moment, "seconds"),
    "rfc3339ms": lambda moment: _iso(moment, "milliseconds"),
    "rfc3339ns": lambda moment: _iso(moment, "microseconds")[:-1] + "000Z",
}


class OutputError(ValueError):
    """Such output cannot be made. The text is one sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """How records are written."""

    field_names: tuple[str, ...] = ()
    "In their order; none: all that a record has."
    output_type: str = "ndjson"
    timestamp_format: str = "unixnano"
    sample_rate: float = 1.0
    record_prefix: str = "{"
    record_suffix: str = "}\n"
    record_delimiter: str = ""
    batch_prefix: str = ""
    batch_suffix: str = ""
    field_delimiter: str = ","
    record_template: str = ""
    "In place of all fields, between prefix and suffix: see `logpush.templates`."
    hide_log4j: bool = False
    "CVE-2021-44228: `${` becomes `x{`."

    def render(self, records: Iterable[Record]) -> bytes:
        """Return a batch."""
        written = [text for record in records if self._sampled(record) and (text := self._record(record))]
        whole = self.batch_prefix + self.record_delimiter.join(written) + self.batch_suffix
        return whole.encode("utf-8", "replace")

    def _sampled(self, record: Record) -> bool:
        if self.sample_rate >= 1.0:
            return True
        # By the record itself, so that an attempt that is made again has the same.
        digest = zlib.crc32(str(record.get("RayID") or record.get("Chain", "")).encode())
        return digest < self.sample_rate * 2**32

    def _record(self, record: Record) -> str:
        names = self.field_names or tuple(record)
        values = {name: self._value(name, record.get(name, "")) for name in names}
        if self.record_template:
            text = self._from_template(values)
        elif self.output_type == "csv":
            text = _csv(values.values(), self.field_delimiter)
        else:
            body = json.dumps(values, separators=(",", ":"))[1:-1]
            text = self.record_prefix + body + self.record_suffix
        return text.replace("${", "x{") if self.hide_log4j else text

    def _from_template(self, values: Record) -> str:
        is_csv = self.output_type == "csv"
        written = [
            text if not is_field else "null" if text not in values
            else _csv([values[text]], self.field_delimiter)[:-1] if is_csv
            else json.dumps(values[text], separators=(",", ":"))
            for is_field, text in parse_template(self.record_template)
        ]  # fmt: skip
        body = "".join(written)
        return f"{body}\n" if is_csv else self.record_prefix + body + self.record_suffix

    def _value(self, name: str, value: Any) -> Any:
        if name in MOMENTS and isinstance(value, str) and value:
            return _TIMES[self.timestamp_format](datetime.datetime.fromisoformat(value))
        return value


def parse_output(value: dict[str, Any], fields: Collection[str]) -> Output:
    """Return the output that `output_options` describe; `fields` are those of the data set.

    Raises:
        OutputError: something in it is not known, or asks for a field that is not there.
    """
    value = {name: given for name, given in value.items() if given is not None}
    hide = value.pop("CVE-2021-44228", False)
    names = value.pop("field_names", [])
    rate = value.pop("sample_rate", 0)
    if value.get("merge_subrequests") is not None:
        raise OutputError("merge_subrequests is for data sets that are not there")
    if unknown := sorted(set(value) - set(Output.__dataclass_fields__) | ({"hide_log4j"} & set(value))):
        raise OutputError(f"{unknown[0][:50]!r} is no output option")
    if not isinstance(names, list) or any(name not in fields for name in names):
        wrong = next((str(name) for name in names if name not in fields), "") if isinstance(names, list) else ""
        raise OutputError(f"field_names lists fields of the data set, and {wrong[:50]!r} is none")
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate <= 1:
        raise OutputError("sample_rate is a number from 0 to 1")
    _check_texts(value, names)
    # 0 stands for all of them, as when it is not given.
    return Output(field_names=tuple(names), sample_rate=float(rate) or 1.0, hide_log4j=hide is True, **value)


def _check_texts(value: dict[str, Any], names: list[str]) -> None:
    if value.get("output_type", "ndjson") not in ("ndjson", "csv"):
        raise OutputError("output_type is ndjson or csv")
    if value.get("timestamp_format", "unix") not in _TIMES:
        raise OutputError(f"timestamp_format is one of {', '.join(_TIMES)}")
    for name, given in value.items():
        if not isinstance(given, str) or len(given) > MAX_TEXT:
            raise OutputError(f"{name} is a text of at most {MAX_TEXT} characters")
    try:
        parse_template(value.get("record_template", ""))
    except TemplateError as error:
        raise OutputError(str(error)) from error
    if value.get("output_type") == "csv":
        if not names:
            raise OutputError("csv needs field_names")
        if len(value.get("field_delimiter", ",")) != 1:
            raise OutputError("field_delimiter is one character")


def _csv(values: Iterable[Any], delimiter: str) -> str:
    line = io.StringIO()
    told = (json.dumps(value) if isinstance(value, list | dict | bool) else value for value in values)
    csv.writer(line, delimiter=delimiter, lineterminator="\n").writerow(told)
    return line.getvalue()


def _iso(moment: datetime.datetime, precision: str) -> str:
    text = moment.astimezone(datetime.UTC).isoformat(timespec=precision)
    return text.removesuffix("+00:00") + "Z"
