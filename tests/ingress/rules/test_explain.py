import pytest

from pyconnector.ingress import decode_path, explain, parse_ingress, split_request_url

INGRESS = parse_ingress(
    {
        "ingress": [
            {"hostname": "app.example.com", "path": "^/api/", "service": "http://localhost:1"},
            {"hostname": "App.example.com", "service": "http://localhost:2"},
            {"hostname": "*.example.org", "service": "http://localhost:3"},
            {"hostname": "*x.example.net", "service": "http://localhost:4"},
            {"hostname": "zz.example.com", "path": "^/zz", "service": "http://localhost:5"},
            {"service": "http_status:404"},
        ]
    }
)


def reasons(host: str, path: str) -> list[str]:
    return [verdict.reason for verdict in explain(INGRESS, host, path).verdicts]


def test_the_rule_that_matches_has_no_reason_and_ends_the_list() -> None:
    explanation = explain(INGRESS, "app.example.com:443", "/api/x")
    assert (explanation.host, explanation.path, explanation.match.index) == ("app.example.com", "/api/x", 0)
    assert [verdict.reason for verdict in explanation.verdicts] == [""]
    assert explanation.verdicts[0].rule is INGRESS.rules[0]


def test_each_earlier_rule_says_why_it_does_not_match() -> None:
    assert reasons("zz.example.com", "/a") == [
        'the host "zz.example.com" is not "app.example.com" and the path "/a" has nothing in it that matches "^/api/"',
        'the host "zz.example.com" is not "App.example.com"',
        'the host "zz.example.com" does not end in ".example.org"',
        'the host "zz.example.com" is not "*x.example.net": without a dot after it the * stands for itself',
        'the path "/a" has nothing in it that matches "^/zz"',
        "",
    ]


@pytest.mark.parametrize(
    ("host", "path", "rule", "words"),
    [
        ("app.example.com", "/API/", 0, "upper and lower case count (write (?i)"),
        ("example.org", "/", 2, "is not a subdomain of itself"),
        ("EXAMPLE.org.", "/", 2, "is not a subdomain of itself"),
    ],
)
def test_near_misses_are_named(host: str, path: str, rule: int, words: str) -> None:
    assert words in reasons(host, path)[rule]


def test_a_url_is_split_into_what_is_compared() -> None:
    assert split_request_url("https://app.example.com:8443/a%20b/%C3%BC?x=%20#f") == ("app.example.com", "/a b/ü")
    assert split_request_url("http://[::1]:80") == ("::1", "")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("app.example.com/x", "doesn't have a hostname, consider adding a scheme, as in https://app.example.com/x"),
        ("https://", "has no host$"),
        ("https:///x", "has no host$"),
        ("//", "has no host$"),
        ("https:", "has no host$"),
        ("mailto:a", "has no host$"),
        ("/", "has no host$"),
        ("?x", "has no host$"),
        ("http://a b/", "not a valid URL"),
        ("http://a/%zz", "not a valid URL"),
    ],
)
def test_a_url_that_cannot_be_explained(url: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        split_request_url(url)


def test_decoding_keeps_bytes_that_are_no_text() -> None:
    assert decode_path("/%61/%ff/%zz/%") == "/a/\udcff/%zz/%"
    assert decode_path("/plain") == "/plain"
