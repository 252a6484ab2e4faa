"""HTTP/2 carries streams as every transport does, but for what RST_STREAM cannot say."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest

from tests.transport.conformance import Check, run
from tests.transport.conformance_connections import CONNECTION_CHECKS
from tests.transport.conformance_streams import STREAM_CHECKS
from tests.transport.http2_pair import conformance_pair

#: What HTTP/2 has no word for, and therefore cannot do.
NOT_IN_HTTP2 = {
    # A server opens no streams.
    "data_goes_both_ways_on_streams_of_either_end",
    "a_stream_handler_takes_queued_and_later_streams",
    "streams_opened_before_the_end_can_still_be_accepted",
    # There are no datagrams.
    "datagrams_go_both_ways_and_have_a_size",
    "unread_datagrams_are_bounded",
    # RST_STREAM ends both directions, with a code of HTTP/2's own (below).
    "a_reset_reaches_the_reader_with_its_code",
    "a_stop_reaches_the_sender_with_its_code",
    "a_stop_wakes_a_sender_that_waits",
    "a_direction_has_one_user_at_a_time",
    "the_abort_callback_is_called_once_for_each_kind_of_abort",
}
CHECKS = [check for check in STREAM_CHECKS + CONNECTION_CHECKS if check.__name__ not in NOT_IN_HTTP2]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_http2_transport(check: Check, tmp_path: Path) -> None:
    run(check(functools.partial(conformance_pair, tmp_path)))
