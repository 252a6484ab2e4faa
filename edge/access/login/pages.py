"""The pages of the login, as whole answers: escaped, without scripts, and framed by nobody."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pyconnector.edge.access.answers import Answer
from pyconnector.identity.policies.policy import Reason

if TYPE_CHECKING:
    from collections.abc import Iterable

    Headers = list[tuple[bytes, bytes]]


@cache
def _templates() -> Environment:
    loader = FileSystemLoader(Path(__file__).parent / "templates")
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)


def page(
    template: str,
    status: int,
    values: dict[str, Any],
    *fields: tuple[bytes, bytes],
    form_targets: Iterable[str] = (),
    reason: Reason = Reason.LOCAL,
) -> Answer:
    """Return a page. `form_targets` are the origins that its forms may lead to, beside its own."""
    nonce = os.urandom(16).hex()
    body = _templates().get_template(template).render(values | {"nonce": nonce}).encode("utf-8", "replace")
    forms = " ".join(["'self'", *form_targets])
    policy = (
        f"default-src 'none'; style-src 'nonce-{nonce}'; form-action {forms}; frame-ancestors 'none'; base-uri 'none'"
    )
    return Answer(
        status=status, body=body, content_type=b"text/html; charset=utf-8", reason=reason,
        fields=[
            (b"Content-Security-Policy", policy.encode("ascii")), (b"X-Frame-Options", b"DENY"),
            # Not `no-referrer`: a form would then tell no Origin, by which it is told from another site's.
            (b"Referrer-Policy", b"same-origin"), (b"Cache-Control", b"no-store"), *fields,
        ],
    )  # fmt: skip


def message(
    status: int,
    title: str,
    *lines: str,
    organization: str,
    fields: Iterable[tuple[bytes, bytes]] = (),
    more: dict[str, Any] | None = None,
    reason: Reason = Reason.LOCAL,
) -> Answer:
    """Return a page that says something. `more` may have `link`, `link_text`, `action`, `action_text` and `ray`."""
    empty = dict.fromkeys(("link", "link_text", "action", "action_text", "ray"), "")
    values = empty | {"title": title, "lines": lines, "organization": organization} | (more or {})
    return page("message.html", status, values, *fields, reason=reason)


def to(location: str, *fields: tuple[bytes, bytes], reason: Reason = Reason.LOCAL) -> Answer:
    """Return a redirect. `location` is ASCII and absolute: made here of what was sealed here."""
    return Answer(
        status=302, body=b"", reason=reason,
        fields=[(b"Location", location.encode("ascii")), (b"Cache-Control", b"no-store"), *fields],
    )  # fmt: skip
