"""TCP of the stack, segment by segment."""

from __future__ import annotations

import pytest

from pyconnector.transport.ip import stack as stacks
from pyconnector.transport.ip.icmp import Error
from pyconnector.transport.ip.packets import ICMP
from pyconnector.transport.ip.tcp import connection as connections
from pyconnector.transport.ip.tcp.receiving import LEAST_WINDOW, MAX_AHEAD, RECEIVE_BUFFER
from pyconnector.transport.ip.tcp.segment import ACK, FIN, PSH, RST, SYN
from pyconnector.transport.ip.tcp.values import Ended, State
from tests.transport.ip.script_client import ISN, PORT, ScriptClient


@pytest.fixture
def client() -> ScriptClient:
    return ScriptClient()


def test_nothing_is_answered_before_the_destination_is_reached(client: ScriptClient) -> None:
    connection = client.ask()
    assert client.segment(SYN, sequence=ISN, acknowledgement=0) is None  # sent again meanwhile
    assert client.sent() == []
    connection.accept(client.now)
    answer = client.one()
    assert (answer.flags, answer.mss, answer.scale) == (SYN | ACK, 1240, None)


def test_a_refusal_is_a_reset_of_the_syn(client: ScriptClient) -> None:
    client.ask().refuse()
    answer = client.one()
    assert (answer.flags, answer.acknowledgement) == (RST | ACK, (ISN + 1) & 0xFFFF_FFFF)
    assert len(client.stack) == 0


def test_a_prohibition_is_an_icmp_error_that_quotes_the_syn(client: ScriptClient) -> None:
    client.stack.refuse_connection(client.ask(), Error.PROHIBITED, client.now)
    (packet,) = client.packets()
    assert (packet.protocol, packet.payload[:2]) == (ICMP, b"\3\x0d")
    assert packet.payload[28:32] == PORT.to_bytes(2, "big") + b"\0\x50"
    assert len(client.stack) == 0


def test_an_answer_that_nobody_confirms_is_sent_again_then_given_up(client: ScriptClient) -> None:
    connection = client.ask()
    connection.accept(client.now)
    waits = []
    client.sent()
    while len(client.stack):
        waits.append(client.wait())
        client.sent()
    assert waits == pytest.approx([1.0, 2.0, 4.0, 8.0, 16.0])
    assert connection.ended is Ended.TIMEOUT


def test_an_undecided_connection_does_not_stay(client: ScriptClient) -> None:
    client.ask()
    assert client.wait() == connections.DECISION_TIMEOUT
    assert len(client.stack) == 0


def test_half_open_connections_are_bounded(client: ScriptClient) -> None:
    for port in range(1, stacks.MAX_HALF_OPEN + 1):
        client.ask(port)
    assert client.segment(SYN, port=9_999, sequence=ISN) is None
    assert client.stack.dropped["half_open"] == 1
    client.now += connections.DECISION_TIMEOUT
    client.stack.on_timer(client.now)
    client.ask(9_999)


def test_connections_are_bounded(client: ScriptClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stacks, "MAX_CONNECTIONS", 3)
    for port in (1, 2, 3):
        client.connect(port)
    assert client.segment(SYN, port=4, sequence=ISN) is None
    assert client.stack.dropped["connections"] == 1


def test_only_an_exact_reset_counts(client: ScriptClient) -> None:
    connection = client.connect()
    client.segment(RST, sequence=client.next + 100)
    challenge = client.one()
    assert (challenge.flags, challenge.acknowledgement) == (ACK, client.next)
    assert connection.state is State.OPEN
    client.segment(RST, sequence=client.next + (1 << 20))  # outside of the window: not even a challenge
    assert client.sent() == []
    client.segment(RST)
    assert connection.ended is Ended.RESET
    assert client.sent() == []


def test_a_syn_within_a_connection_is_challenged(client: ScriptClient) -> None:
    connection = client.connect()
    client.segment(SYN, sequence=client.next + 5)
    assert client.one().flags == ACK
    assert connection.state is State.OPEN


def test_challenges_are_limited(client: ScriptClient) -> None:
    client.connect()
    for _ in range(100):
        client.segment(SYN)
    assert len(client.sent()) == connections.CHALLENGES_A_SECOND
    client.now += 1.0
    client.segment(SYN)
    assert len(client.sent()) == 1


@pytest.mark.parametrize("offset", [1, 100_000, -100_000])
def test_an_acknowledgement_of_what_was_not_sent_takes_no_data(client: ScriptClient, offset: int) -> None:
    connection = client.connect()
    client.segment(ACK, b"injected", acknowledgement=(client.isn + 1 + offset) & 0xFFFF_FFFF)
    assert connection.readable == 0
    assert client.one().acknowledgement == client.next


def test_an_acknowledgement_of_another_answer_is_reset(client: ScriptClient) -> None:
    connection = client.ask()
    connection.accept(client.now)
    wrong = client.one().sequence + 1_000
    client.segment(ACK, acknowledgement=wrong & 0xFFFF_FFFF)
    answer = client.one()
    assert (answer.flags, answer.sequence) == (RST, wrong & 0xFFFF_FFFF)
    assert connection.is_half_open


def test_pieces_out_of_order_become_whole(client: ScriptClient) -> None:
    connection = client.connect()
    data = bytes(range(256)) * 4
    for at in (512, 256, 640, 0):
        client.segment(ACK, data[at : at + 384], sequence=(client.next + at) & 0xFFFF_FFFF)
    assert connection.read(10_000) == data
    assert [(each.acknowledgement - client.next) & 0xFFFF_FFFF for each in client.sent()] == [0, 0, 0, 1024]


def test_pieces_ahead_are_bounded(client: ScriptClient) -> None:
    connection = client.connect()
    for at in range(1, 2 * MAX_AHEAD + 100, 2):
        client.segment(ACK, b"x", sequence=(client.next + at) & 0xFFFF_FFFF)
    assert len(connection._receiver._ahead) == MAX_AHEAD


def test_nothing_beyond_the_window_is_taken(client: ScriptClient) -> None:
    connection = client.connect()
    at, sent = client.next, 0
    while sent < RECEIVE_BUFFER + 50_000:
        client.segment(ACK, b"d" * 1000, sequence=(at + sent) & 0xFFFF_FFFF)
        sent += 1000
    assert connection.readable == RECEIVE_BUFFER
    assert client.sent()[-1].window == 0
    assert len(connection.read(RECEIVE_BUFFER)) == RECEIVE_BUFFER
    assert client.one().window > 0  # so that the client goes on


def test_what_all_connections_promise_is_bounded(client: ScriptClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client.stack._receive_pool, "size", RECEIVE_BUFFER)
    opened = [client.connect(port) for port in range(1, 6)]
    windows = [connection._receiver.window for connection in opened]
    assert windows == [RECEIVE_BUFFER] + [LEAST_WINDOW] * 4
    for connection in opened:
        connection.abort()
    assert client.stack._receive_pool.used == 0


def test_what_is_held_is_given_back_however_it_ends(client: ScriptClient) -> None:
    for port, end in ((1, "abort"), (2, "reset"), (3, "both")):
        connection = client.connect(port)
        connection.write(b"unsent" * 1_000, client.now)
        client.segment(ACK, b"unread", port=port)
        client.next += 6
        if end == "abort":
            connection.abort()
        elif end == "reset":
            client.segment(RST, port=port)
        else:
            connection.finish(client.now)
            client.segment(ACK | FIN, port=port, acknowledgement=(client.isn + 6_002) & 0xFFFF_FFFF)
            assert connection.ended is Ended.BOTH
            assert connection.read(100) == b"unread"
            assert client.stack._receive_pool.used == 0
        connection.forget()
        client.sent()
        client.next -= 6
    assert (client.stack._receive_pool.used, client.stack._send_pool.used) == (0, 0)


def test_lost_data_is_sent_again_ever_more_slowly(client: ScriptClient) -> None:
    connection = client.connect()
    connection.write(b"d" * 100, client.now)
    assert client.one().payload == b"d" * 100
    waits = []
    while connection.state is State.OPEN:
        waits.append(client.wait())
        sent = client.sent()
        assert [client.at(each) for each in sent if each.payload] == ([] if connection.ended else [0])
    assert waits[:5] == pytest.approx([waits[0] * 2**power for power in range(5)])
    assert len(waits) == connections.RETRIES + 1
    assert max(waits) <= 60.0
    assert connection.ended is Ended.TIMEOUT


def test_three_duplicates_send_the_missing_segment_at_once(client: ScriptClient) -> None:
    connection = client.connect()
    connection.write(b"d" * 8_000, client.now)
    assert [client.at(each) for each in client.sent()] == list(range(0, 8_000, 1_000))
    client.acknowledge(1_000)
    client.sent()
    for count in (1, 2, 3):
        client.acknowledge(1_000)
        assert [client.at(each) for each in client.sent()] == ([1_000] if count == 3 else [])
    client.acknowledge(3_000)  # of those behind it another is missing (RFC 6582 3.2)
    assert [client.at(each) for each in client.sent()] == [3_000]
    client.acknowledge(8_000)
    assert client.sent() == []


def test_loss_makes_the_window_smaller(client: ScriptClient) -> None:
    connection = client.connect()
    connection.write(b"d" * 100_000, client.now)
    first = len(client.sent())
    assert first == 10
    client.acknowledge(10_000)
    assert len(client.sent()) == 12  # slow start: at most two segments for one acknowledgement
    client.wait()
    assert len(client.sent()) == 1


def test_a_closed_window_is_probed(client: ScriptClient) -> None:
    connection = client.connect(window=1_000)
    connection.write(b"d" * 3_000, client.now)
    assert len(client.one().payload) == 1_000
    client.acknowledge(1_000, window=0)
    assert client.sent() == []
    waits = []
    for _ in range(3):
        waits.append(client.wait())
        probe = client.one()
        assert (client.at(probe), len(probe.payload)) == (1_000, 1)
        client.acknowledge(1_000, window=0)
    assert waits[1:] == pytest.approx([waits[0] * 2, waits[0] * 4])
    client.acknowledge(1_001, window=5_000)
    assert [len(each.payload) for each in client.sent()] == [1_000, 999]


def test_a_window_that_stays_closed_ends_the_connection(client: ScriptClient) -> None:
    connection = client.connect(window=1_000)
    connection.write(b"d" * 3_000, client.now)
    client.acknowledge(1_000, window=0)
    begun = client.now
    while connection.state is State.OPEN:
        client.sent()
        client.wait()
        client.acknowledge(1_000, window=0)
    assert 600 <= client.now - begun < 700


def test_a_window_that_closes_over_what_is_on_its_way_is_probed_too(client: ScriptClient) -> None:
    connection = client.connect(window=1_000)
    connection.write(b"d" * 1_000, client.now)
    while connection.state is State.OPEN:
        client.sent()
        client.acknowledge(0, window=0)
        client.wait()
    assert connection.ended is Ended.ABORTED  # after the time of a stall, not after so many tries


def test_duplicates_of_a_go_back_send_nothing_again(client: ScriptClient) -> None:
    connection = client.connect()
    connection.write(b"d" * 8_000, client.now)
    client.sent()
    client.wait()
    assert [client.at(each) for each in client.sent()] == [0]
    for _ in range(4):
        client.acknowledge(0)
    assert client.sent() == []


def test_windows_are_scaled_where_both_say_so(client: ScriptClient) -> None:
    connection = client.ask(scale=7)
    connection.accept(client.now)
    answer = client.one()
    client.isn = answer.sequence
    assert answer.scale == connections.SCALE
    client.segment(window=100)
    connection.write(b"d" * 20_000, client.now)
    assert sum(len(each.payload) for each in client.sent()) == 10_000  # 100 << 7 is more than the congestion window
    client.segment(ACK, b"x")
    client.segment(ACK, b"y", sequence=client.next + 1)
    assert client.sent()[-1].window << connections.SCALE > 200_000


def test_segments_are_kept_to_what_travels_best(client: ScriptClient) -> None:
    client.stack.segment_mtu = 1_000
    connection = client.ask()
    connection.accept(client.now)
    answer = client.one()
    client.isn = answer.sequence
    assert answer.mss == 960
    client.segment()
    connection.write(b"d" * 5_000, client.now)
    assert {len(each.payload) for each in client.sent()} == {960, 200}


def test_acknowledgements_wait_for_data_but_not_long(client: ScriptClient) -> None:
    connection = client.connect()
    client.segment(ACK, b"question")
    assert client.sent() == []
    connection.write(b"answer", client.now)
    answer = client.one()
    assert (answer.payload, answer.flags) == (b"answer", ACK | PSH)
    assert answer.acknowledgement == client.next + 8
    client.acknowledge(6, sequence=client.next + 8)
    client.segment(ACK, b"more", sequence=client.next + 8)
    assert client.wait() == pytest.approx(connections.ACK_DELAY)
    assert client.one().acknowledgement == client.next + 12


def test_after_its_own_end_first_a_pair_of_ports_rests(client: ScriptClient) -> None:
    connection = client.connect()
    connection.finish(client.now)
    assert client.one().flags == ACK | FIN
    client.acknowledge(1)
    client.segment(ACK | FIN, acknowledgement=(client.isn + 2) & 0xFFFF_FFFF)
    assert client.one().acknowledgement == client.next + 1
    assert len(client.stack) == 0
    client.segment(ACK | FIN, acknowledgement=(client.isn + 2) & 0xFFFF_FFFF)  # our acknowledgement was lost
    assert client.one().flags == ACK
    client.segment(RST, sequence=client.next + 1)
    client.segment(ACK | FIN, acknowledgement=(client.isn + 2) & 0xFFFF_FFFF)
    assert client.one().flags == ACK  # a reset ends no rest (RFC 1337)
    assert client.segment(SYN, sequence=ISN - 5) is None  # an old one
    assert client.one().flags == ACK
    client.now += stacks.REST
    client.segment(ACK | FIN)
    assert client.one().flags == RST


def test_a_newer_connection_of_resting_ports_begins_behind_the_old_one(client: ScriptClient) -> None:
    connection = client.connect()
    connection.finish(client.now)
    client.segment(ACK | FIN, acknowledgement=(client.isn + 2) & 0xFFFF_FFFF)
    client.sent()
    asked = client.segment(SYN, sequence=client.next + 1_000)
    assert isinstance(asked, stacks.TcpAsked)
    asked.connection.accept(client.now)
    assert (client.one().sequence - client.isn) & 0xFFFF_FFFF == 2 + 0x1_0000


def test_whom_the_client_ends_first_does_not_rest(client: ScriptClient) -> None:
    connection = client.connect()
    client.segment(ACK | FIN)
    assert connection.peer_ended
    client.sent()
    connection.write(b"still", client.now)
    connection.finish(client.now)
    client.segment(ACK, sequence=client.next + 1, acknowledgement=(client.isn + 7) & 0xFFFF_FFFF)
    assert connection.ended is Ended.BOTH
    assert client.stack._resting == {}


def test_segments_of_no_connection_are_reset_but_not_without_end(client: ScriptClient) -> None:
    for _ in range(stacks.ERRORS + 50):
        client.segment(ACK, b"data")
    sent = client.sent()
    assert {each.flags for each in sent} == {RST}
    assert len(sent) == stacks.ERRORS
    client.segment(RST)
    assert client.sent() == []


def test_initial_sequence_numbers_differ_by_connection_and_secret() -> None:
    seen = set()
    for secret in (b"a" * 16, b"b" * 16):
        for port in (1, 2):
            client = ScriptClient()
            client.stack._secret = secret
            client.ask(port).accept(client.now)
            seen.add(client.one().sequence)
    assert len(seen) == 4


def test_stale_timers_are_thrown_away(client: ScriptClient) -> None:
    for _ in range(500):
        client.ask().refuse()
        client.sent()
    assert len(client.stack._timers) < 100


def test_too_much_to_write_is_an_error(client: ScriptClient) -> None:
    connection = client.connect()
    with pytest.raises(ValueError, match="more than there is room for"):
        connection.write(bytes(connection.room + 1), client.now)
