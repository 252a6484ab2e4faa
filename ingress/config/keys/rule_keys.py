"""The keys of one entry of `ingress` (reference/ingress.md 1.3)."""

from __future__ import annotations

from pyconnector.ingress.config.keys.kinds import Text
from pyconnector.ingress.config.keys.origin_keys import ORIGIN_REQUEST, ORIGIN_REQUEST_KIND
from pyconnector.ingress.config.keys.security_keys import SOMEBODY_KIND
from pyconnector.ingress.config.keys.table import Key, Table
from pyconnector.ingress.rules.path_patterns import MAX_PATTERN

#: Characters of a hostname. The longest that DNS has is 253; the reference sets no limit.
MAX_HOSTNAME = 1024


class _ServiceText(Text):
    """A service; a list of them is what people try first where there are several."""

    def _parse(self, value: object, *, remote: bool) -> str:
        if isinstance(value, list | tuple):
            raise self.wrong(value, hint="; write one here and the others under originRequest as backends")
        return super()._parse(value, remote=remote)


RULE = Table(
    keys=(
        Key(
            name="hostname",
            kind=Text(example="a host name", limit=MAX_HOSTNAME),
            meaning="Host name of the requests, or `*.` and a name for its subdomains; all where it is left out.",
            also_tried=("host", "domain"),
        ),
        Key(
            name="path",
            kind=Text(example="an RE2 expression", limit=MAX_PATTERN),
            meaning="RE2 expression that is searched in the decoded path; all where it is left out.",
        ),
        Key(
            name="identity",
            kind=SOMEBODY_KIND,
            meaning="Who the requests must come from, as `allow` of `access` has it; all where it is left out. Others "
            "go on to the rules below. An extension; the rule has to require `access`.",
            null_means="problem",
            also_tried=("identities", "who"),
        ),
        Key(
            name="service",
            kind=_ServiceText(example="a service like http://localhost:8080"),
            meaning="Where the requests go.",
            also_tried=("url", "target", "origin"),
        ),
        Key(
            name="originRequest",
            kind=ORIGIN_REQUEST_KIND,
            meaning="Settings for this rule; the others come from the top-level `originRequest`.",
        ),
    ),
    elsewhere={key.name: "write it under originRequest" for key in ORIGIN_REQUEST.keys},
)
