"""A window moves with consumption, grows for a fast reader, and never beyond its maximum."""

from __future__ import annotations

from transport.quic.receive_window import ReceiveWindow


def test_credit_is_due_once_a_quarter_was_consumed() -> None:
    window = ReceiveWindow(1000, 1000)
    assert not window.consume(249)
    assert window.consume(1)
    assert window.extend(1.0, 0.1) == 1250
    assert not window.consume(1)


def test_nothing_is_granted_to_a_reader_that_takes_nothing() -> None:
    window = ReceiveWindow(1000, 8000)
    assert window.extend(1.0, 0.1) == 1000
    assert window.extend(2.0, 0.1) == 1000


def test_a_fast_reader_gets_a_larger_window_up_to_the_maximum() -> None:
    window = ReceiveWindow(1000, 3000)
    now = 0.0
    for _ in range(20):
        window.consume(window.size)
        window.extend(now, 0.1)
        now += 0.1
    assert window.size == 3000
    assert window.limit == window.consumed + 3000


def test_a_slow_reader_keeps_its_window() -> None:
    window = ReceiveWindow(1000, 8000)
    for second in range(20):
        window.consume(600)
        window.extend(float(second), 0.1)
    assert window.size == 1000
