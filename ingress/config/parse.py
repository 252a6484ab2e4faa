"""From a config to rules: everything is checked, and everything that is wrong is said at once.

What is refused is what the reference refuses (reference/ingress.md 3), plus unknown keys and security settings
that would have no effect. `parse_ingress` is for the local config; `ingress.config.remote` for what the edge sends.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pyconnector.ingress.config.errors import IngressError, NoIngressRules, ProblemList, closest, describe
from pyconnector.ingress.config.keys.kinds import Reader
from pyconnector.ingress.config.keys.origin_keys import ORIGIN_REQUEST, ORIGIN_REQUEST_KIND, merge
from pyconnector.ingress.config.keys.rule_keys import RULE
from pyconnector.ingress.config.services import (
    BastionService,
    FilesService,
    Service,
    SocksService,
    StatusService,
    StreamService,
    is_http,
    is_stream,
    parse_service,
    redacted,
    service_warnings,
)
from pyconnector.ingress.config.settings import OriginSettings
from pyconnector.ingress.rules.hostnames import ANY_HOST, hostname_problem, hostname_warning
from pyconnector.ingress.rules.path_patterns import MAX_PATTERN, MAX_REMOTE_PATTERN, PathPattern, compile_path
from pyconnector.ingress.rules.rules import MAX_ASKED, Ingress, Rule, RuleTable, unreachable_rules

if TYPE_CHECKING:
    from pyconnector.ingress.config.errors import ConfigPath
    from pyconnector.ingress.config.keys.table import Key

#: Rules in the local config, and in what the edge sends.
MAX_RULES = MAX_REMOTE_RULES = 10_000
_WANTED = {
    "stream": "streams such as tcp:// or ssh://",
    "http": "HTTP services",
    "any": "services that have an address",
}
_NO_RULES = "the config holds no ingress rules"


def parse_ingress(config: Mapping[Any, Any], *, allow_unknown_keys: bool = False) -> Ingress:
    """Read `ingress` and `originRequest` of a whole config.

    `allow_unknown_keys` makes warnings of unknown keys, but for those that a security setting may be hiding in.

    Raises:
        NoIngressRules: there are no rules, and nothing else is wrong.
        IngressError: something is wrong; all of it is in there.
    """
    return read_ingress(config, Reader(allow_unknown_keys=allow_unknown_keys))


def read_ingress(config: object, reader: Reader) -> Ingress:
    """Read rules and their defaults the way `reader` says. Raises as `parse_ingress`."""
    problems = reader.problems
    if not isinstance(config, Mapping):
        problems.add((), f"expected a mapping with ingress and other keys, found {describe(config)}")
        raise IngressError(problems.problems)
    defaults: dict[str, Any] = {}
    if config.get("originRequest") is not None:
        defaults = ORIGIN_REQUEST_KIND.read(config["originRequest"], ("originRequest",), reader) or {}
        _check_defaults(defaults, reader)
    entries = config.get("ingress")
    rules: list[Rule | None] = []
    if entries is not None and not isinstance(entries, list | tuple):
        problems.add(("ingress",), f"expected a list of rules, found {describe(entries)}")
    elif entries and len(entries) > (MAX_REMOTE_RULES if reader.remote else MAX_RULES):
        problems.add(("ingress",), f"there are too many rules ({len(entries)})")
    elif entries:
        base = merge(OriginSettings(), defaults)
        rules = [_RuleParser(entry, index, len(entries), base, reader).parse() for index, entry in enumerate(entries)]
    else:
        nothing_else = not problems.errors
        problems.add(("ingress",), _NO_RULES)
        if nothing_else:
            raise NoIngressRules(problems.problems)
    problems.raise_if_any()
    whole = tuple(rule for rule in rules if rule is not None)
    table = RuleTable(whole)
    _warn_about_rules(whole, defaults, problems)
    _warn_about_paths(table, problems)
    for index in table.asking_too_much:
        problems.add(
            ("ingress", index, "identity"),
            f"rules of one hostname verify who asks in more than {MAX_ASKED} ways; let them share one access",
            at_key=True,
        )
    problems.raise_if_any()
    return Ingress(whole, warnings=tuple(problems.problems), table=table)


def _check_defaults(values: dict[str, Any], reader: Reader) -> None:
    for name in values:
        if ORIGIN_REQUEST[name].only_in_rules:
            message = f"{name} belongs to one rule; write it under its originRequest"
            reader.problems.add(("originRequest", name), message, at_key=True)


def _warn_about_rules(rules: tuple[Rule, ...], defaults: dict[str, Any], problems: ProblemList) -> None:
    for index, earlier in unreachable_rules(rules):
        takes = "the rules up to" if rules[index].identity and rules[earlier].identity else "rule"
        verb = "take" if takes != "rule" else "takes"
        problems.warn(
            ("ingress", index),
            f"rule #{index + 1} is never reached: {takes} #{earlier + 1} {verb} all its requests",
        )
    if "ipRules" in defaults and not any(isinstance(rule.service, SocksService | BastionService) for rule in rules):
        problems.warn(
            ("originRequest", "ipRules"), "no rule has a service that ipRules apply to (socks-proxy or bastion)"
        )


def _warn_about_paths(table: RuleTable, problems: ProblemList) -> None:
    for guarded, other in table.differing:
        problems.warn(
            ("ingress", guarded),
            f"rules #{guarded + 1} and #{other + 1} differ in access by path under one hostname, and a service may "
            "take another spelling of a path for the same one; give what is guarded a hostname of its own, or demand "
            "access for the whole hostname and leave it out for exact paths only, such as ^/health$",
        )


class _RuleParser:
    """Reads one entry of `ingress`."""

    def __init__(self, entry: object, index: int, count: int, base: OriginSettings, reader: Reader) -> None:
        self._entry = entry
        self._index = index
        self._is_last = index == count - 1
        self._base = base
        self._reader = reader
        self._problems = reader.problems
        self._path: ConfigPath = ("ingress", index)

    def parse(self) -> Rule | None:
        """Return the rule, or None where a problem was recorded."""
        if not isinstance(self._entry, Mapping):
            self._problems.add(self._path, f"expected a rule with a service, found {describe(self._entry)}")
            return None
        before, found = self._problems.errors, len(self._problems.problems)
        values = RULE.read(self._entry, self._path, self._reader)
        # A key with a problem is neither set nor missing: what depends on it is not judged.
        wrong = {
            str(problem.path[2])
            for problem in self._problems.problems[found:]
            if len(problem.path) > 2 and not problem.warning
        }
        settings = merge(self._base, values.get("originRequest", {}))
        service = None if "service" in wrong else self._service(values, settings)
        pattern = self._pattern(values)
        self._check_host(values, judge_position=wrong.isdisjoint({"hostname", "path", "identity"}))
        if "originRequest" not in wrong:
            self._check_identity(values, settings)
        if service is not None and self._problems.errors == before:
            self._check_keys(values.get("originRequest", {}), service)
        if service is None or self._problems.errors != before:
            return None
        if isinstance(service, BastionService):
            settings = merge(settings, {"bastionMode": True})
        return Rule(
            values.get("hostname", ""), values.get("path", ""), service, settings, pattern, values.get("identity", ())
        )

    def _service(self, values: dict[str, Any], settings: OriginSettings) -> Service | None:
        if "service" not in values and settings.bastion_mode:
            return BastionService()
        if "service" not in values:
            self._problems.add(self._path, "the rule has no service, such as http://localhost:8080")
            return None
        place, text = (*self._path, "service"), values["service"]
        try:
            service = parse_service(text, bastion_mode=settings.bastion_mode)
        except ValueError as error:
            self._problems.add(place, str(error), _meant_service(text))
            return None
        if isinstance(service, FilesService) and self._reader.remote:
            # What an edge pushes may lead to services of this machine, and not to whatever it has on its disks.
            self._problems.add(place, "files: is for the local config alone, not for one that is pushed")
            return None
        for sentence in service_warnings(service, text):
            self._problems.warn(place, sentence)
        return service

    def _check_host(self, values: dict[str, Any], *, judge_position: bool) -> None:
        hostname = values.get("hostname", "")
        place = (*self._path, "hostname") if "hostname" in values else self._path
        if sentence := hostname_problem(hostname):
            self._problems.add(place, sentence)
            return
        if warning := hostname_warning(hostname):
            self._problems.warn(place, warning)
        if judge_position:
            filters = [name for name in ("path", "identity") if values.get(name)]
            self._check_position(hostname, filters, place=place)

    def _check_position(self, hostname: str, filters: list[str], *, place: ConfigPath) -> None:
        catches_all = hostname in ANY_HOST and not filters
        if self._is_last and not catches_all:
            self._problems.add(
                (*self._path, filters[0]) if hostname in ANY_HOST else place,
                "the last ingress rule must match all URLs (i.e. it should not have a hostname or path filter)"
                if "identity" not in filters
                else "the last ingress rule must match all requests: it should have no hostname, path or identity",
            )
        elif catches_all and not self._is_last:
            self._problems.add(
                place,
                f"rule #{self._index + 1} matches every hostname ('{hostname}'), so the rules that follow it "
                "will never be reached",
            )

    def _check_identity(self, values: dict[str, Any], settings: OriginSettings) -> None:
        """Refuse who could be told from nobody: a rule that is for somebody must be able to verify who asks."""
        if "identity" not in values:
            return
        place = (*self._path, "identity")
        access = settings.access
        if not values["identity"]:  # only what the edge sends gets here
            self._problems.add(place, "the list is empty, so the rule would be for everybody or for nobody")
        elif access is None or not access.required:
            self._problems.add(
                place,
                "identity needs access that is required, in originRequest of the rule or of the top: it says by whose "
                "keys who asks is verified",
                at_key=True,
            )
        elif not access.aud_tag or not (access.team_name or access.issuer):
            self._problems.add(
                place, "the access of this rule takes nobody's token, so nobody could be told apart", at_key=True
            )
        elif access.allow and not _may_both_hold(values["identity"], access.allow):
            self._problems.add(
                place, f"the rule is for {', '.join(values['identity'])}, but its access.allow lets none of them in"
            )

    def _pattern(self, values: dict[str, Any]) -> PathPattern | None:
        text = values.get("path")
        if not text:
            return None
        try:
            return compile_path(text, limit=MAX_REMOTE_PATTERN if self._reader.remote else MAX_PATTERN)
        except ValueError as error:
            self._problems.add((*self._path, "path"), f"rule #{self._index + 1} has an invalid regex: {error}")
            return None

    def _check_keys(self, values: dict[str, Any], service: Service) -> None:
        """Refuse opt-in settings that would do nothing with this service, and warn of others."""
        for name in values:
            key = ORIGIN_REQUEST[name]
            place = (*self._path, "originRequest", name)
            if not key.reference and not _applies(key, service):
                wanted = _WANTED[key.applies_to]
                message = f"{name} works with {wanted} only, and this service is {redacted(service)}"
                self._problems.add(place, message, at_key=True)
            elif name == "ipRules" and not isinstance(service, SocksService | BastionService):
                self._problems.warn(place, "ipRules apply to the services socks-proxy and bastion only")
            elif name == "backends" and any(is_http(other) != is_http(service) for other in values[name]):
                self._problems.add(
                    place, "the further services must be of the same kind as the service (HTTP or streams)"
                )


def _may_both_hold(identity: tuple[str, ...], allow: tuple[str, ...]) -> bool:
    """Return whether one token can be one of `identity` and one of `allow`: it has one role, one id, many labels."""

    def together(one: tuple[str, str, str], other: tuple[str, str, str]) -> bool:
        if (one[0] == "email") != (other[0] == "email"):  # a person or a service token, never both
            return False
        return one[0] != other[0] or one[0] == "label" or one[2].lower() == other[2].lower()

    pairs = ((one.partition(":"), other.partition(":")) for one in identity for other in allow)
    return any(together(one, other) for one, other in pairs)


def _meant_service(text: str) -> str:
    """Return the service that a refused text was probably meant to be, unless something in it may be secret."""
    word, colon, rest = text.partition(":")
    if meant := closest(word, ("http_status", "files") if colon else ("hello_world", "socks-proxy", "bastion")):
        return "" if meant == word else meant + colon + rest
    if not text or "://" in text or "@" in text:
        return ""
    try:
        return str(parse_service(f"http://{text}"))
    except ValueError:
        return ""


def _applies(key: Key, service: Service) -> bool:
    if key.name == "backends":
        return isinstance(service, StreamService) or is_http(service)
    if key.applies_to == "http":
        return is_http(service) or isinstance(service, StatusService)
    return key.applies_to == "any" or is_stream(service)
