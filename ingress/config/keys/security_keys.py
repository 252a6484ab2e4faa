"""The keys of `access` and `ipRules`, which fail closed: what is misspelt, missing or empty there is a problem.

What the edge sends is held to the reference's rules instead, so that a config made in its dashboard is taken; a
demand that names nobody then lets nobody in.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pyconnector.ingress.config.keys.kinds import Flag, ListOf, Text, Whole
from pyconnector.ingress.config.keys.table import Key, Section, Table
from pyconnector.ingress.config.settings import AccessSettings
from pyconnector.ingress.rules.ip_rules import MAX_PORT, IpRule, parse_prefix

if TYPE_CHECKING:
    from pyconnector.ingress.config.errors import ConfigPath
    from pyconnector.ingress.config.keys.kinds import Reader

#: A team name becomes part of a host name.
_TEAM_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?", re.ASCII)
_ENVIRONMENTS = ("", "fed")
_ISSUER = re.compile(r"https://[A-Za-z0-9._:-]{1,255}", re.ASCII)
_KEYS_URL = re.compile(
    r"(?:https://[^\s/?#@]+|http://(?:127\.0\.0\.1|localhost|\[::1\])(?::\d{1,5})?)/[^\s#]*", re.ASCII
)
_SOMEBODY = re.compile(r"(?:role|label|token|name|email):\S(?:.{0,318}\S)?")


def check_somebody(text: str) -> None:
    """Check one entry of `allow` or of a rule's `identity`. Raises ValueError with a sentence."""
    if not _SOMEBODY.fullmatch(text):
        raise ValueError("expected role:NAME, label:LABEL, token:CLIENT_ID, name:TOKEN_NAME or email:ADDRESS")


#: Who asks, as a list of such entries; any of them.
SOMEBODY_KIND = ListOf(
    Text(example="role:reader", check=check_somebody, pattern=_SOMEBODY.pattern),
    example="a list such as [role:reader]",
    may_be_empty=False,
)

ACCESS = Table(
    secure=True,
    keys=(
        Key(name="required", kind=Flag(), meaning="Whether every request must carry a valid token."),
        Key(
            name="teamName",
            kind=Text(example="a team name, as in <teamName>.cloudflareaccess.com"),
            meaning="The team whose keys sign the tokens: the first part of its cloudflareaccess.com name.",
            also_tried=("team", "team_name"),
        ),
        Key(
            name="audTag",
            kind=ListOf(Text(example="an application's audience tag"), example="a list of audience tags"),
            meaning="Audience tags of the applications whose tokens are taken; one of them must be in the token.",
            also_tried=("aud", "audience", "audTags"),
        ),
        Key(
            name="environment",
            kind=Text(example='"fed" or nothing'),
            meaning="`fed` for the FedRAMP environment, else empty.",
        ),
        Key(
            name="issuer",
            kind=Text(example="an issuer, as in https://access.mesh.example"),
            meaning="In place of `teamName`: who issues the tokens, as in `https://access.mesh.localhost`.",
        ),
        Key(
            name="keysUrl",
            kind=Text(example="an address, as in https://tool.mesh.example/cdn-cgi/access/certs"),
            meaning="Where that issuer publishes its keys: https, or http on this machine.",
            also_tried=("keys_url", "jwksUrl"),
        ),
        Key(
            name="allow",
            kind=SOMEBODY_KIND,
            meaning="Who of those may pass, any of: `role:NAME`, `label:LABEL`, `token:CLIENT_ID`, `name:TOKEN_NAME`, "
            "`email:ADDRESS`.",
        ),
    ),
)


def _build_access(values: dict[str, Any], path: ConfigPath, reader: Reader) -> AccessSettings | None:
    team, tags = values.get("teamName", ""), values.get("audTag", ())
    required, environment = values.get("required"), values.get("environment", "")
    problems = reader.problems
    issuer, keys_url, allow = values.get("issuer", ""), values.get("keysUrl", ""), values.get("allow", ())
    _check_issuer(values, path, reader)
    if required and tags and not team and not issuer:
        problems.add(
            path, "access.teamName cannot be empty when access.audTag is given: nobody's tokens would be valid"
        )
    if required and team and not _TEAM_NAME.fullmatch(team):
        short = team.removeprefix("https://").removesuffix(".cloudflareaccess.com")
        meant = short if short != team and _TEAM_NAME.fullmatch(short) else ""
        problems.add(
            (*path, "teamName"), "expected the team's short name, as in <teamName>.cloudflareaccess.com", meant
        )
    if not reader.remote:
        _check_local_access(values, path, reader)
    return AccessSettings(
        required=bool(required), team_name=team, aud_tag=tags, environment=environment, issuer=issuer,
        keys_url=keys_url, allow=tuple(allow),
    )  # fmt: skip


def _check_issuer(values: dict[str, Any], path: ConfigPath, reader: Reader) -> None:
    issuer, keys_url = values.get("issuer", ""), values.get("keysUrl", "")
    if bool(issuer) != bool(keys_url):
        reader.problems.add(path, "access.issuer and access.keysUrl go together")
    if issuer and (values.get("teamName") or values.get("environment")):
        reader.problems.add(path, "access.issuer stands in place of teamName and environment: leave one of them out")
    if issuer and not _ISSUER.fullmatch(issuer):
        reader.problems.add((*path, "issuer"), "expected https:// and the name of a host, without a path")
    if keys_url and not _KEYS_URL.fullmatch(keys_url):
        reader.problems.add((*path, "keysUrl"), "expected an https:// address, or an http:// one of this machine")


def _check_local_access(values: dict[str, Any], path: ConfigPath, reader: Reader) -> None:
    problems, team, tags = reader.problems, values.get("teamName", ""), values.get("audTag", ())
    if "required" not in values:
        problems.add(
            path,
            "access does not say whether it is required; write required: true to check every request, "
            "or required: false to check none",
        )
    if values.get("required"):
        if not tags:
            problems.add(path, "access.audTag cannot be empty when access is required: no token would be valid")
        if not team and not tags and not values.get("issuer"):
            problems.add(path, "access.teamName cannot be empty when access is required: no token would be valid")
    for index, tag in enumerate(tags):
        if not tag.strip():
            problems.add((*path, "audTag", index), "the audience tag is empty")
    if values.get("environment", "") not in _ENVIRONMENTS:
        problems.add((*path, "environment"), 'expected "fed" or nothing')


def _dump_access(access: AccessSettings) -> Any:
    required = {"required": True} if access.required else {}
    environment = {"environment": access.environment} if access.environment else {}
    own = {"issuer": access.issuer, "keysUrl": access.keys_url} if access.issuer else {}
    allow = {"allow": list(access.allow)} if access.allow else {}
    tags = list(access.aud_tag) or None
    return {**required, "teamName": access.team_name, "audTag": tags, **environment, **own, **allow}


IP_RULE = Table(
    secure=True,
    keys=(
        Key(
            name="prefix",
            kind=Text(example="a network like 10.0.0.0/8", check=parse_prefix),
            meaning="Network in CIDR form.",
            also_tried=("cidr", "network"),
        ),
        Key(
            name="ports",
            kind=ListOf(
                Whole(minimum=1, maximum=MAX_PORT, example="a port between 1 and 65535"), example="a list of ports"
            ),
            meaning="Ports the rule is about; all where none are given.",
            also_tried=("port",),
        ),
        Key(name="allow", kind=Flag(), meaning="Whether these destinations are allowed; they are not by default."),
    ),
)


def _build_ip_rule(values: dict[str, Any], path: ConfigPath, reader: Reader) -> IpRule | None:
    if "prefix" not in values:
        reader.problems.add(path, "the IP rule has no prefix, such as 10.0.0.0/8")
        return None
    return IpRule(
        prefix=parse_prefix(values["prefix"]),
        ports=tuple(sorted(values.get("ports", ()))),
        allow=values.get("allow", False),
    )


def _dump_ip_rule(rule: IpRule) -> Any:
    return {"prefix": str(rule.prefix), "ports": list(rule.ports) or None, "allow": rule.allow}


ACCESS_KIND = Section(
    table=ACCESS,
    build=_build_access,
    dumper=_dump_access,
    example="a mapping with required, teamName and audTag",
    required=("required",),
)
IP_RULES_KIND = ListOf(
    Section(
        table=IP_RULE,
        build=_build_ip_rule,
        dumper=_dump_ip_rule,
        example="a mapping with prefix, ports and allow",
        required=("prefix",),
    ),
    example="a list of IP rules",
    may_be_empty=False,
)
