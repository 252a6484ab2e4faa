"""Problems of the keys that the reference does not have, and where those keys may stand."""

from typing import Any

import pytest

from pyconnector.ingress import IngressError, OriginSettings, parse_ingress
from pyconnector.ingress.rules.header_rules import MAX_FIELDS, HeaderRules


def settings_of(value: dict[str, Any], service: str = "http://localhost:1") -> OriginSettings:
    return parse_ingress({"ingress": [{"service": service, "originRequest": value}]}).rules[0].settings


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (
            {"requestHeaders": "Authorization: secret"},
            "requestHeaders: expected a mapping with set, add and remove, found a text",
        ),
        (
            {"requestHeaders": {"set": "secret"}},
            "requestHeaders.set: expected a mapping of header names to values, found a text",
        ),
        ({"requestHeaders": {}}, "requestHeaders: nothing is set, added or removed"),
        (
            {"requestHeaders": {"set": {"A": "1", "a": "2"}}},
            "requestHeaders.set: a field is set twice; use add for a second one",
        ),
        (
            {"requestHeaders": {"add": {"A": True}}},
            "requestHeaders.add.A: expected a text as the value; put it in quotes",
        ),
        (
            {"requestHeaders": {"add": {"A": ["1", None]}}},
            "requestHeaders.add.A: expected a text as the value; put it in quotes",
        ),
        (
            {"requestHeaders": {"add": {5: "x"}}},
            "requestHeaders.add.5: expected the name of a header field, "
            "such as X-Frame-Options (letters, digits and hyphens)",
        ),
        (
            {"requestHeaders": {"add": {"A": ["x"] * (MAX_FIELDS + 1)}}},
            "requestHeaders.add: more than 128 header fields",
        ),
        (
            {"rewritePath": [{"match": "a", "replace": "/", "redirect": 304}]},
            "rewritePath[0].redirect: expected 301, 302, 303, 307 or 308, found the number 304",
        ),
        ({"rewritePath": [{"match": "(", "replace": "/"}]}, "rewritePath[0].match: missing ): ("),
        ({"rewritePath": {"match": "a", "replace": "/"}}, "rewritePath: expected a list of rewrites, found a mapping"),
        (
            {"stripPathPrefix": "x"},
            "stripPathPrefix: expected a path that begins with one slash and is more than that, such as /app",
        ),
        ({"backends": []}, "backends: the list is empty; expected a list of services, such as [http://localhost:8081]"),
        (
            {"backends": ["http_status:200"]},
            "backends[0]: a further service must be the address of one, such as http://localhost:8081",
        ),
        (
            {"backends": ["localhost:1"]},
            "backends[0]: the address of the service is invalid: it needs a scheme and a hostname, as in http://localhost:8080",
        ),
        (
            {"balance": "roundrobin"},
            'balance: expected failover or round-robin, found the text "roundrobin"; did you mean round-robin?',
        ),
        ({"healthCheck": {"interval": "1ms"}}, "healthCheck.interval: the interval must be at least 100ms"),
        ({"healthCheck": {"timeout": "0s"}}, "healthCheck.timeout: the timeout must be more than nothing"),
        (
            {"healthCheck": {"unhealthyAfter": 0}},
            "healthCheck.unhealthyAfter: expected a number from 1, found the number 0",
        ),
        ({"errorPage": {}}, "errorPage: the error page says nothing; give it a status, a body or a file"),
        ({"errorPage": {"body": "a" * (256 * 1024 + 1)}}, "errorPage.body: the text is longer than 262144 characters"),
        ({"retryFor": -1}, "retryFor: expected a duration like 10s, found the number -1"),
    ],
)
def test_problems(value: dict[str, Any], problem: str) -> None:
    with pytest.raises(IngressError) as caught:
        settings_of(value)
    assert [str(found) for found in caught.value.problems] == [f"ingress[0].originRequest.{problem}"]
    assert "secret" not in str(caught.value)


def test_values_of_headers_may_be_numbers_and_lists() -> None:
    headers = settings_of(
        {"responseHeaders": {"set": {"X-N": 5}, "add": {"Set-Cookie": ["a=1", "b=2"]}}}
    ).response_headers
    assert headers == HeaderRules(set=((b"X-N", b"5"),), add=((b"Set-Cookie", b"a=1"), (b"Set-Cookie", b"b=2")))


def test_an_error_page_may_have_lines() -> None:
    page = settings_of({"errorPage": {"body": "<p>\n\tBack soon\r\n</p>"}}).error_page
    assert page is not None
    assert "Back soon" in page.body


@pytest.mark.parametrize(
    ("key", "value", "services"),
    [
        ("stripPathPrefix", "/x", "http unix hello status"),
        ("rewritePath", [{"match": "a", "replace": "/b"}], "http unix hello status"),
        ("responseHeaders", {"remove": ["Server"]}, "http unix hello status"),
        ("errorPage", {"status": 503}, "http unix hello status"),
        ("proxyProtocol", "v1", "tcp bastion socks"),
        ("retryFor", "5s", "http unix hello status tcp bastion socks"),
    ],
)
def test_a_rule_may_only_have_what_its_service_can_do(key: str, value: Any, services: str) -> None:
    addresses = {
        "http": "http://localhost",
        "unix": "unix:/run/x",
        "hello": "hello_world",
        "status": "http_status:404",
        "tcp": "tcp://localhost",
        "bastion": "bastion",
        "socks": "socks-proxy",
    }
    for name, address in addresses.items():
        if name in services.split():
            settings_of({key: value}, address)
        else:
            with pytest.raises(IngressError, match=f"{key} works with"):
                settings_of({key: value}, address)


def test_backends_belong_to_services_of_their_kind() -> None:
    assert len(settings_of({"backends": ["tcp://b:1"]}, "ssh://a").backends) == 1
    assert len(settings_of({"backends": ["unix:/run/b"]}, "http://a").backends) == 1
    for service in ("bastion", "http_status:404", "socks-proxy"):
        with pytest.raises(IngressError, match="backends works with"):
            settings_of({"backends": ["http://b"]}, service)


def test_settings_of_the_top_level_reach_services_that_cannot_use_them_without_a_problem() -> None:
    config = {
        "originRequest": {"proxyProtocol": "v2", "stripPathPrefix": "/x", "errorPage": {"status": 503}},
        "ingress": [{"hostname": "a", "service": "ssh://h"}, {"service": "http://h"}],
    }
    assert [rule.settings.proxy_protocol for rule in parse_ingress(config).rules] == ["v2", "v2"]
