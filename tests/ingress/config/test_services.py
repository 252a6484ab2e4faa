import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyconnector.ingress.config.services import (
    NO_SUCH_PORT,
    BastionService,
    FilesService,
    HelloService,
    HttpService,
    Service,
    SocksService,
    StatusService,
    StreamService,
    UnixService,
    is_http,
    is_stream,
    parse_service,
    redacted,
    service_warnings,
)


@pytest.mark.parametrize(
    ("text", "service"),
    [
        ("http://localhost", HttpService("http", "localhost", 80, "http://localhost")),
        ("https://localhost", HttpService("https", "localhost", 443, "https://localhost")),
        ("ws://localhost:9000", HttpService("http", "localhost", 9000, "ws://localhost:9000")),
        ("wss://localhost", HttpService("https", "localhost", 443, "wss://localhost")),
        ("h2c://localhost:50051", HttpService("http", "localhost", 50051, "h2c://localhost:50051", h2c=True)),
        ("http://[::1]:3000", HttpService("http", "::1", 3000, "http://[::1]:3000")),
        ("http://[fe80::1%25eth0]", HttpService("http", "fe80::1%eth0", 80, "http://[fe80::1%25eth0]")),
        ("http://bücher.example", HttpService("http", "xn--bcher-kva.example", 80, "http://b%C3%BCcher.example")),
        ("HTTP://Local", HttpService("http", "Local", 80, "http://Local")),
        ("unix:/run/app.sock", UnixService("/run/app.sock")),
        ("unix+tls:/run/app.sock", UnixService("/run/app.sock", tls=True)),
        ("http_status:404", StatusService(404)),
        ("http_status:+0404", StatusService(404)),
        ("hello_world", HelloService()),
        ("hello-world", HelloService()),
        ("socks-proxy", SocksService()),
        ("files:/srv/docs", FilesService("/srv/docs")),
        ("bastion", BastionService()),
        ("tcp://localhost:5432", StreamService("tcp", "localhost", 5432)),
        ("tcp://localhost", StreamService("tcp", "localhost", 7864)),
        ("ssh://localhost", StreamService("ssh", "localhost", 22)),
        ("rdp://localhost", StreamService("rdp", "localhost", 3389)),
        ("smb://[::1]", StreamService("smb", "::1", 445)),
        ("foo://localhost", StreamService("foo", "localhost", 0)),
        ("tcp://u:p@localhost:1?x#y", StreamService("tcp", "localhost", 1)),
        ("tcp://localhost:99999999999999999999", StreamService("tcp", "localhost", NO_SUCH_PORT)),
    ],
)
def test_reads_every_form(text: str, service: Service) -> None:
    assert parse_service(text) == service


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("rdp://localhost", "rdp://localhost:3389"),
        ("ssh://[::1]", "ssh://[::1]:22"),
        ("foo://localhost", "foo://localhost"),
        ("tcp://h:0080", "tcp://h:0080"),
        ("tcp://u:p@h:1?x", "tcp://h:1"),
        ("http://h?", "http://h?"),
        ("http://h#", "http://h"),
        ("http://a:b@c@h", "http://a:b%40c@h"),
        ("WSS://h:1", "wss://h:1"),
        ("hello-world", "hello_world"),
        ("unix+tls:/x", "unix+tls:/x"),
    ],
)
def test_canonical_text_is_the_references(text: str, canonical: str) -> None:
    assert str(parse_service(text)) == canonical


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "needs a scheme and a hostname"),
        ("localhost", "needs a scheme and a hostname"),
        ("localhost:8080", "needs a scheme and a hostname"),
        ("//localhost", "needs a scheme and a hostname"),
        ("http:/x", "needs a scheme and a hostname"),
        ("http://:80", "needs a scheme and a hostname"),
        ("http://h/", "cannot have a path"),
        ("http://h/nas", "write http://h here"),
        ("http://h:x", "port"),
        ("http://h:80:81", "port"),
        ("http://::1", "port"),
        ("http://[::1", "bracket"),
        ("http://[x]", "IPv6"),
        ("http://[1.2.3.4]", "IPv6"),
        ("http://a[::1]", "brackets"),
        ("http://a b", "' '"),
        ("http://a%20b", "percent"),
        ("http://a%zz", "percent"),
        ("http://u%zz@h", "percent"),
        ("http://u ser@h", "@"),
        ("http://h\x00", "control"),
        ("1x://h", "scheme"),
        (":x", "scheme"),
        ("http_status:", "invalid HTTP status code"),
        ("http_status:1_0", "invalid HTTP status code"),
        ("http_status:99", "100 and 999"),
        ("http_status:1000", "100 and 999"),
        ("http_status:" + "9" * 5000, "invalid HTTP status code"),
        ("unix:", "path of a socket"),
        ("unix+tls:", "path of a socket"),
    ],
)
def test_says_why_a_text_is_no_service(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        parse_service(text)
    assert words in str(caught.value)


def test_bastion_mode_replaces_addresses_only() -> None:
    assert parse_service("http://localhost", bastion_mode=True) == BastionService()
    assert parse_service("not an address", bastion_mode=True) == BastionService()
    assert parse_service("unix:/x", bastion_mode=True) == UnixService("/x")
    assert parse_service("http_status:404", bastion_mode=True) == StatusService(404)
    assert parse_service("socks-proxy", bastion_mode=True) == SocksService()


def test_a_password_is_shown_to_nobody() -> None:
    service = parse_service("http://user:secret@localhost:1?a@b")
    assert "secret" not in repr(service)
    assert redacted(service) == "http://localhost:1?a@b"
    for text in (
        "http://user:secret@h/path",
        "http://user:secret@h:x",
        "http://user:secret@h\x01",
        "http://u:secret @h",
    ):
        with pytest.raises(ValueError, match=r".") as caught:
            parse_service(text)
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("http://localhost:8080", []),
        ("tcp://localhost", []),
        ("foo://localhost", ["no port of its own"]),
        ("http://localhost:0", ["1 and 65535"]),
        ("tcp://localhost:99999", ["1 and 65535"]),
        ("http://u@h?q#f", ["user part", "query part", "fragment part"]),
        ("ssh://::1", ["brackets"]),
        ("hello_world", []),
    ],
)
def test_warns_of_what_does_nothing(text: str, words: list[str]) -> None:
    warnings = service_warnings(parse_service(text), text)
    assert len(warnings) == len(words)
    assert all(word in warning for word, warning in zip(words, warnings, strict=True))


@given(st.text(alphabet="htps:/[]@%0aé?#.\x00 ", max_size=25), st.booleans())
def test_reading_is_total(text: str, bastion: bool) -> None:
    try:
        service = parse_service(text, bastion_mode=bastion)
    except ValueError:
        return
    assert str(service).isprintable()
    assert not (is_http(service) and is_stream(service))
    service_warnings(service, text) if not bastion else None


@pytest.mark.parametrize("text", ["files:", "files:docs", "files:./docs", "files://srv/docs", "files:/a\0b"])
def test_files_needs_a_directory_from_the_root_on(text: str) -> None:
    with pytest.raises(ValueError, match="as in files:/srv/docs"):
        parse_service(text)
