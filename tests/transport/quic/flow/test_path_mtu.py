"""Sizes are tried from small to large, until one is lost for good, and given up where they begin to vanish."""

from __future__ import annotations

from pyconnector.transport.quic.path_mtu import ATTEMPTS, STEPS, PathMtu


def test_every_size_is_tried_while_probes_arrive() -> None:
    mtu = PathMtu(1232, 16384)
    for step in STEPS:
        assert mtu.start_probe() == step
        assert not mtu.wants_probe
        mtu.acknowledged(step)
        assert mtu.size == step
    assert not mtu.wants_probe


def test_a_size_is_given_up_after_its_attempts() -> None:
    mtu = PathMtu(1232, 16384)
    mtu.acknowledged(mtu.start_probe())
    for _ in range(ATTEMPTS):
        assert mtu.wants_probe
        assert mtu.start_probe() == 1350
        mtu.lost()
    assert not mtu.wants_probe
    assert mtu.size == 1280


def test_limits_of_both_ends_are_respected() -> None:
    mtu = PathMtu(1232, 1400)
    mtu.limit(1360)
    sizes = []
    while mtu.wants_probe:
        sizes.append(mtu.start_probe())
        mtu.acknowledged(sizes[-1])
    assert sizes == [1280, 1350]
    assert not PathMtu(1232, 1232).wants_probe


def test_falling_back_is_for_good() -> None:
    mtu = PathMtu(1232, 16384)
    mtu.acknowledged(mtu.start_probe())
    assert mtu.fall_back()
    assert mtu.size == 1232
    assert not mtu.wants_probe
    assert not mtu.fall_back()


def test_a_probe_acknowledged_after_the_fall_back_changes_nothing() -> None:
    mtu = PathMtu(1232, 16384)
    size = mtu.start_probe()
    mtu.fall_back()
    mtu.acknowledged(size)
    assert mtu.size == 1232
