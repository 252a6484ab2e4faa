import pytest

from pyconnector.ingress.rules.error_page import MAX_ERROR_PAGE, ErrorPage


def test_a_page_from_the_config() -> None:
    status, headers, body = ErrorPage(
        status=503, body="Zurück um 9 Uhr", content_type="text/plain; charset=utf-8"
    ).response()
    assert (status, body) == (503, "Zurück um 9 Uhr".encode())
    assert dict(headers) == {
        b"Content-Type": b"text/plain; charset=utf-8",
        b"Content-Length": b"16",
        b"Cache-Control": b"no-store",
    }


def test_a_page_from_a_file_and_a_page_without_a_body() -> None:
    assert ErrorPage(file="down.html").response(b"<p>")[2] == b"<p>"
    status, headers, body = ErrorPage().response()
    assert (status, body) == (502, b"")
    assert headers == [(b"Content-Length", b"0"), (b"Cache-Control", b"no-store")]


def test_a_page_is_bounded() -> None:
    with pytest.raises(ValueError, match="larger than 256 KiB"):
        ErrorPage(file="x").response(b"a" * (MAX_ERROR_PAGE + 1))
