"""The flags of the audit log, of `pyconnector edge` and `pyconnector mesh up` alike, as settings."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from pyconnector.edge.audit.log import AuditSettings
from pyconnector.edge.settings import SettingsError
from pyconnector.logpush.destinations import DestinationError, parse_destination

_SIZE = re.compile(r"(\d{1,6})\s*([MG])iB", re.IGNORECASE)
_UNITS = {"m": 1024**2, "g": 1024**3}
#: Below it hardly anything could wait.
MIN_SPOOL = 1024**2
MAX_DESTINATIONS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFlags:
    """The flags as a user writes them, with their defaults."""

    audit_dir: str = ""
    audit_when_full: str = "refuse"
    audit_keep: int = 0
    audit_spool: str = "4GiB"
    audit_to: tuple[str, ...] = field(default=(), repr=False)
    "Destinations, as in Logpush's `destination_conf`."


def audit_settings(flags: AuditFlags) -> AuditSettings | None:
    """Return where requests are recorded; None where no directory is given.

    Raises:
        SettingsError: a flag is malformed, or one is given that needs a directory.
    """
    if not flags.audit_dir:
        if flags.audit_to:
            raise SettingsError("--audit-to needs --audit-dir: records wait there until they are taken")
        return None
    if len(flags.audit_to) > MAX_DESTINATIONS:
        raise SettingsError(f"--audit-to is given at most {MAX_DESTINATIONS} times")
    return AuditSettings(
        directory=Path(flags.audit_dir).expanduser(), refuse_when_full=flags.audit_when_full == "refuse",
        keep=flags.audit_keep, spool_limit=_size(flags.audit_spool), push=tuple(map(_checked, flags.audit_to)),
    )  # fmt: skip


def _checked(text: str) -> str:
    try:
        parse_destination(text)
    except DestinationError as error:
        raise SettingsError(f"--audit-to: {error}") from None
    return text


def _size(text: str) -> int:
    found = _SIZE.fullmatch(text.strip())
    size = int(found[1]) * _UNITS[found[2].lower()] if found is not None else 0
    if size < MIN_SPOOL:
        raise SettingsError(f"--audit-spool {text!r} is no size such as 4GiB or 500MiB")
    return size
