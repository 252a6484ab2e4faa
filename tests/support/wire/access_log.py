"""What an access log said, for tests to look at."""

from __future__ import annotations

import logging
from typing import Any


class Records(logging.Handler):
    """A handler that keeps its records; give it to `AccessLog`."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    @property
    def fields(self) -> list[dict[str, Any]]:
        return [vars(record)["fields"] for record in self.records]

    def only(self) -> dict[str, Any]:
        assert len(self.fields) == 1
        return self.fields[0]
