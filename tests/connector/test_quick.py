"""What a connector makes of the answer of a quick tunnel service, whoever wrote it."""

from __future__ import annotations

import base64
import json
import socket
import uuid
from typing import Any

import pytest

from pyconnector.connector.api.errors import StartFailed
from pyconnector.connector.cli.quick import MAX_EDGES, ask, parse, qr_code

ID = str(uuid.uuid4())
SECRET = base64.b64encode(b"s" * 32).decode()


def answer(**fields: Any) -> bytes:
    result = {"id": ID, "name": "n", "hostname": "Some-Name.example.com", "account_tag": "a", "secret": SECRET} | fields
    return json.dumps({"success": True, "errors": [], "result": result}).encode()


def test_the_answer_of_the_reference_service_is_read() -> None:
    made = parse(answer())
    assert str(made.credentials.tunnel_id) == ID
    assert (made.credentials.account_tag, made.credentials.secret) == ("a", b"s" * 32)
    assert made.url == "https://some-name.example.com"
    assert SECRET not in repr(made)


def test_a_mesh_tells_its_edges_and_where_visitors_go() -> None:
    made = parse(answer(edges=["127.0.0.1:7844", "[::1]:7844"], authority="PEM", visitors="http://127.0.0.1:8080"))
    assert made.edges == ("127.0.0.1:7844", "[::1]:7844")
    assert made.url == "http://some-name.example.com:8080"
    assert len(parse(answer(edges=["e:1"] * 1000)).edges) == MAX_EDGES


@pytest.mark.parametrize(
    "fields",
    [
        {"id": "no uuid"}, {"hostname": "\x1b[2J"}, {"hostname": "a b"}, {"hostname": None}, {"secret": "!"},
        {"secret": ""}, {"account_tag": 1}, {"edges": 7}, {"edges": [1]}, {"visitors": "javascript:x"},
        {"hostname": "a." * 200 + "b"},
    ],
)  # fmt: skip
def test_a_wrong_value_is_one_sentence(fields: dict[str, Any]) -> None:
    with pytest.raises(StartFailed) as caught:
        parse(answer(**fields))
    assert SECRET not in str(caught.value)
    assert "\x1b" not in str(caught.value)


def test_what_the_service_says_against_it_is_told_without_control_characters() -> None:
    with pytest.raises(StartFailed, match=r"wait a minute\\x1b"):
        parse(json.dumps({"errors": [{"message": "wait a minute\x1b"}], "result": None}).encode())
    for data in (b"", b"[]", b"{}", b"<html>", b'{"result": 1, "errors": 5}'):
        with pytest.raises(StartFailed, match="no quick tunnel"):
            parse(data)


def test_a_qr_code_is_square_on_a_terminal() -> None:
    lines = qr_code("https://some-name.example.com").split("\n")
    assert {len(line) for line in lines} == {len(lines[0])}
    assert len(lines) * 2 - len(lines[0]) in (0, 1)
    assert set("".join(lines)) <= set("█▀▄ ")


def test_a_service_that_is_not_there_is_told_without_error_numbers() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(StartFailed) as failed:
            ask(f"http://127.0.0.1:{unused.getsockname()[1]}")
    assert str(failed.value) == "no quick tunnel: 127.0.0.1 cannot be asked: Connection refused"
