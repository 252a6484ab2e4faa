import pytest

from pyconnector.ingress import IngressError, OriginSettings, SingleOrigin, settings_from_flags, single_origin_ingress
from pyconnector.ingress.config.single_origin import normalise_url


def service(origin: SingleOrigin) -> str | None:
    ingress = single_origin_ingress(origin)
    return None if ingress is None else str(ingress.match("any.example", "/").rule.service)


def test_the_first_flag_that_is_set_counts() -> None:
    assert service(SingleOrigin()) is None
    assert service(SingleOrigin(url="localhost:8080")) == "http://localhost:8080"
    assert service(SingleOrigin(unix_socket="/run/x")) == "unix:/run/x"
    assert service(SingleOrigin(bastion=True, url="http://x")) == "bastion"
    assert service(SingleOrigin(hello_world=False, bastion=True)) == "hello_world"
    assert service(SingleOrigin(url="ssh://h")) == "ssh://h:22"


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("localhost", "http://localhost"),
        ("localhost:8080", "http://localhost:8080"),
        ("https://localhost:8080/api/", "https://localhost:8080"),
        ("127.0.0.1", "http://127.0.0.1"),
        ("127.0.0.1:80", "http://127.0.0.1:80"),
        ("127.0.0.1:80/x?y", "http://127.0.0.1:80"),
        ("127.0.0.1/x", "http://127.0.0.1"),
        ("[::1]:80/x", "http://[::1]:80"),
        ("::1", "http://[::1]"),
        ("[::1]", "http://[::1]"),
        ("[::1]:80", "http://[::1]:80"),
        ("tcp://[::1]:5432", "tcp://[::1]:5432"),
        ("http://bücher.example/x", "http://xn--bcher-kva.example"),
        (" localhost ", "http://localhost"),
    ],
)
def test_urls_are_completed(text: str, result: str) -> None:
    assert normalise_url(text) == result


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        ("ftp://x", "ftp:// is not carried"),
        ("http://", "no hostname"),
        ("http://a b", "host"),
        ("http://\u200cü", "not valid"),
    ],
)
def test_urls_that_cannot_be_used(text: str, words: str) -> None:
    with pytest.raises(IngressError) as caught:
        single_origin_ingress(SingleOrigin(url=text))
    assert words in str(caught.value)
    assert caught.value.problems[0].path == ("url",)


def test_a_socket_excludes_a_url() -> None:
    with pytest.raises(IngressError, match="exclusively"):
        single_origin_ingress(SingleOrigin(url="http://x", unix_socket="/x"))
    with pytest.raises(IngressError, match="empty"):
        single_origin_ingress(SingleOrigin(unix_socket=""))


def test_flags_make_settings() -> None:
    settings = settings_from_flags(
        {
            "proxy-connect-timeout": "1s",
            "no-tls-verify": True,
            "proxy-keepalive-connections": 5,
            "http-host-header": "h",
            "socks5": True,
            "loglevel": "debug",
        }
    )
    assert settings == OriginSettings(
        connect_timeout=1.0, no_tls_verify=True, keepalive_connections=5, http_host_header="h", proxy_type="socks"
    )
    ingress = single_origin_ingress(SingleOrigin(url="http://x"), settings)
    assert ingress is not None
    assert ingress.rules[0].settings is settings
    with pytest.raises(IngressError, match="proxy-tls-timeout: expected a duration"):
        settings_from_flags({"proxy-tls-timeout": "soon"})
