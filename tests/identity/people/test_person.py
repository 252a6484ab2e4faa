"""People and what tokens say of them."""

from __future__ import annotations

from typing import Any

import pytest

from pyconnector.identity.people.person import (
    Person,
    application_claims,
    email_of,
    person_of,
    session_claims,
    subject_of,
)

ANN = Person(subject="s", email="ann@example.com", name="Ann", provider="pin", nonce="a" * 32, begun=1000.25)
ABOUT: dict[str, Any] = {"issuer": "https://a", "audience": "t", "now": 1000.9, "seconds": 60.0}


def test_tokens_of_a_session_and_of_an_application_name_the_same_person() -> None:
    session = session_claims(ANN, **ABOUT)
    application = application_claims(ANN, **ABOUT, binding="b")
    assert person_of(session) == person_of(application) == ANN
    assert (session["type"], application["type"], application["binding"]) == ("org", "app", "b")
    assert (application["iat"], application["exp"], application["aud"]) == (1000, 1060, ["t"])


@pytest.mark.parametrize(
    "change",
    [
        {"sub": ""}, {"email": "x"}, {"email": "Ann@example.com"}, {"idp": None}, {"identity_nonce": "a"},
        {"auth_time": True}, {"auth_time": "1"}, {"auth_time": float("nan")}, {"name": 1}, {"common_name": "x.access"},
    ],
)  # fmt: skip
def test_claims_that_lack_something_name_nobody(change: dict[str, Any]) -> None:
    assert person_of(session_claims(ANN, **ABOUT) | change) is None


def test_addresses_are_compared_in_one_form() -> None:
    assert email_of("Ann.O'Neil+x@Sub.Example.com") == "ann.o'neil+x@sub.example.com"
    for text in ("ann", "ann@", "@example.com", "a b@example.com", "ann@example.com\n", "änn@example.com",
                 "ann@exa_mple.com", "a" * 65 + "@example.com", "ann@" + "e" * 260,
                 "ann@ex\u0430mple.com"):  # fmt: skip
        assert email_of(text) is None
    assert (
        subject_of("a", "ann@example.com") == subject_of("a", "ann@example.com") != subject_of("b", "ann@example.com")
    )
