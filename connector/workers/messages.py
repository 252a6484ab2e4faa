"""What the main process and its workers say to each other. Values alone; `connector.workers.link` carries them.

A question is answered with what its docstring says.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, TypeAlias
from uuid import UUID

if TYPE_CHECKING:
    from pyconnector.connector.api.events import Event
    from pyconnector.connector.config.model import ConnectorConfig

#: Metric families as values: name, help, type, and the name, labels and value of each sample.
Sample: TypeAlias = tuple[str, dict[str, str], float]
Families: TypeAlias = list[tuple[str, str, str, list[Sample]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """To a worker: begin. Answer: why it cannot, or ""."""

    config: ConnectorConfig
    connector_id: UUID
    number: int
    workers: int
    pushed: tuple[int, bytes] | None
    "Version and text of the configuration that the edge pushed last, to another worker or to an earlier life of this."


@dataclass(frozen=True, slots=True)
class Reload:
    """To a worker: put these rules in force. Answer: why it cannot, or ""."""

    config: ConnectorConfig


@dataclass(frozen=True, slots=True)
class TakePushed:
    """To a worker, and from it where the edge told it first: a pushed configuration.

    Answer: why it cannot be used, or "". From a worker: always "", once all others have answered or have had the time.
    """

    version: int
    config: bytes


@dataclass(frozen=True, slots=True)
class Collect:
    """To a worker: tell the metrics. Answer: `Families`."""


@dataclass(frozen=True, slots=True)
class ShowConfiguration:
    """To a worker: show the rules in force. Answer: JSON, in bytes."""


@dataclass(frozen=True, slots=True)
class Drain:
    """To a worker: unregister, let requests end, and exit."""


@dataclass(frozen=True, slots=True)
class Stop:
    """To a worker: exit at once."""


@dataclass(frozen=True, slots=True)
class Happened:
    """From a worker: an event of its connector."""

    event: Event


@dataclass(frozen=True, slots=True, kw_only=True)
class Logged:
    """From a worker: a line for the one log."""

    name: str
    level: int
    created: float
    message: str
    fields: dict[str, object]
    stack: str


@dataclass(frozen=True, slots=True)
class ShowMetrics:
    """From a worker: show the figures of all. Answer: text of a metrics page, in bytes."""


@dataclass(frozen=True, slots=True)
class Listen:
    """From a worker: somebody begins to read the log there. `Listening` says whether he may."""

    session: int
    "A number of the worker's own."
    actor: str
    level: int
    kinds: frozenset[str]
    "Empty for all."


@dataclass(frozen=True, slots=True)
class StopListening:
    """From a worker: he reads no more."""

    session: int


@dataclass(frozen=True, slots=True)
class Listening:
    """To a worker: whether a reader has the lines of all, or another person reads elsewhere."""

    session: int
    granted: bool


@dataclass(frozen=True, slots=True)
class LeaveLog:
    """To a worker: its reader began anew elsewhere."""

    session: int


@dataclass(frozen=True, slots=True)
class Overhear:
    """To a worker: tell your lines from `level` on as `Overheard`; none any more where it is None."""

    level: int | None
    kinds: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Overheard:
    """From a worker, and to the one whose reader it is for: a line, of the log or below its level."""

    time: datetime
    level: int
    message: str
    values: dict[str, object]
    kind: str


Question: TypeAlias = Start | Reload | TakePushed | Collect | ShowConfiguration | ShowMetrics
Told: TypeAlias = (
    Drain | Stop | Happened | Logged | Listen | StopListening | Listening | LeaveLog | Overhear | Overheard
)
