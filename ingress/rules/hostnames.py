"""Host names of rules and of requests: port stripping, wildcards, and the form in which names are compared.

The reference compares them as they stand (reference/ingress.md 4.2). Here they are compared without case, without a
final dot and in IDNA form, as services do that stand behind the tunnel (RFC 9110 4.2.3, RFC 1034 3.1): otherwise
another spelling of a guarded name meets the rule of everybody else, and the service takes it for the guarded one.
"""

from __future__ import annotations

import re

from pyconnector.web.host_port import split_host_port

#: Rule hostnames that match every request.
ANY_HOST = ("", "*")
#: Longest name of a request that is looked at for other characters than ASCII. DNS has none above 253.
MAX_IDNA = 1024
#: Names of these characters alone are mapped to themselves, unless they hold an encoded label.
_PLAIN = re.compile(r"[a-z0-9*._-]*")
#: Looked for after mapping: a forbidden character and a combining mark may have become an allowed one.
_NOT_STD3 = re.compile(r"[\x00-,./:-`{-\x7f]")

#: What a name in DNS, or one that some resolver is taught, is made of; others are encoded (xn--...).
_NAME = re.compile(r"[a-z0-9._-]+")
#: What templates write where a name is to be put in: `${APP_HOST}`, `{{ host }}`, `<your-domain>`, `%HOST%`.
_PLACEHOLDER = re.compile(r"[$%{}<>]")
#: Longest name and longest part of one (RFC 1035 2.3.4).
_MAX_NAME, _MAX_LABEL = 253, 63


def strip_port(host: str) -> str:
    """Return `host` without its port, where it has one."""
    parts = split_host_port(host)
    return host if parts is None else parts[0]


def comparable(name: str) -> str:
    """Return the form in which a rule's name and a request's name without its port are compared."""
    if name.isascii():
        return name.lower().rstrip(".") if name != "*." else name
    if name.startswith("*."):
        return "*." + comparable(name[2:])
    if len(name) <= MAX_IDNA:
        name = lookup_form(name) or name
    return name.lower().rstrip(".")


def host_matches(rule_host: str, host: str) -> bool:
    """Say whether a rule's name (not a catch-all) matches a request's; both are in their comparable form."""
    return rule_host == host or (rule_host.startswith("*.") and host.endswith(rule_host[1:]))


def lookup_form(hostname: str) -> str:
    """Return the IDNA lookup form of a rule's name where it is valid and differs from the name, else "".

    UTS #46 non-transitional processing with STD3 rules, hyphen, joiner and bidi checks, and no length checks.
    """
    try:
        ascii_form = _to_ascii(hostname)
    except ValueError:  # idna's errors and the punycode codec's are both of this kind
        return ""
    return "" if ascii_form == hostname else ascii_form


def _to_ascii(hostname: str) -> str:
    if _PLAIN.fullmatch(hostname) and "xn--" not in hostname:
        for label in hostname.split("."):
            _check_label(label)
        return hostname
    return _mapped_to_ascii(hostname)


def _mapped_to_ascii(hostname: str) -> str:
    import unicodedata  # tables of 1 MB, like those of idna, that names in plain ASCII do without

    import idna

    labels = []
    for label in idna.uts46_remap(hostname, std3_rules=False).split("."):
        decoded = _decode_label(label) if label.startswith("xn--") else label
        _check_label(decoded)
        labels.append(decoded)
    if any(unicodedata.bidirectional(char) in ("R", "AL", "AN") for label in labels for char in label):
        for label in labels:
            if label:
                idna.check_bidi(label, check_ltr=True)
    return ".".join(label if label.isascii() else f"xn--{label.encode('punycode').decode()}" for label in labels)


def _decode_label(label: str) -> str:
    import idna

    decoded = label[4:].encode().decode("punycode")
    if decoded.isascii() or idna.uts46_remap(decoded, std3_rules=False) != decoded:
        raise ValueError("the label does not decode to a valid name")
    return decoded


def _check_label(label: str) -> None:
    if _NOT_STD3.search(label):
        raise ValueError("an ASCII character that no host name has")
    octets = label.encode()
    if octets[2:4] == b"--" and len(octets) > 4:
        raise ValueError("two hyphens where only an encoded name has them")
    if octets.startswith(b"-") or octets.endswith(b"-"):
        raise ValueError("a label may not begin or end with a hyphen")
    if not label.isascii():
        import idna

        idna.check_initial_combiner(label)
        for index, char in enumerate(label):
            if char in "\u200c\u200d" and not idna.valid_contextj(label, index):
                raise ValueError("a joiner where none may be")


def hostname_problem(hostname: str) -> str:
    """Return why a rule's name cannot be used, as a sentence, or "" where it can."""
    if "://" in hostname:
        return "the hostname is a URL; write only the name, such as app.example.com"
    if split_host_port(hostname) is not None:
        return "the hostname cannot contain a port"
    if hostname.rfind("*") > 0:
        return (
            'a hostname can have one wildcard character ("*"), and only in place of subdomains, as in "*.example.com"'
        )
    return ""


def hostname_warning(hostname: str) -> str:
    """Return why a rule with this name will match less than its author may think, or ""."""
    if hostname in ANY_HOST:
        return ""
    if hostname.startswith("*") and not hostname.startswith("*."):
        return 'without a dot after the "*" this matches only the literal text, not subdomains'
    name = comparable(hostname).removeprefix("*.")
    if _is_ip_literal(name):
        return ""
    sentence = "no request can have this hostname; it should be a bare name such as app.example.com"
    if _PLACEHOLDER.search(hostname):
        return f"{sentence} (is this a placeholder that was never filled in?)"
    if _NAME.fullmatch(name) is None:
        return sentence
    if len(name) > _MAX_NAME or any(not 0 < len(label) <= _MAX_LABEL for label in name.split(".")):
        return (
            f"no request can have this hostname: a name has at most {_MAX_NAME} characters, its parts 1 to {_MAX_LABEL}"
        )
    return ""


def _is_ip_literal(name: str) -> bool:
    import ipaddress

    try:
        ipaddress.IPv6Address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True
