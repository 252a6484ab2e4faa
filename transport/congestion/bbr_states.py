"""The states of BBR with the gains that belong to each: the table of draft-ietf-ccwg-bbr 5.6.1."""

from __future__ import annotations

import enum

from pyconnector.transport.congestion import bbr_parameters as p


class State(enum.Enum):
    """Where the flow is in its cycle of probing (5.1.1): name, pacing gain, congestion window gain."""

    STARTUP = ("Startup", p.STARTUP_PACING_GAIN, p.DEFAULT_CWND_GAIN)
    DRAIN = ("Drain", p.DRAIN_PACING_GAIN, p.DEFAULT_CWND_GAIN)
    PROBE_BW_DOWN = ("ProbeBW_DOWN", p.PROBE_DOWN_PACING_GAIN, p.DEFAULT_CWND_GAIN)
    PROBE_BW_CRUISE = ("ProbeBW_CRUISE", 1.0, p.DEFAULT_CWND_GAIN)
    PROBE_BW_REFILL = ("ProbeBW_REFILL", 1.0, p.DEFAULT_CWND_GAIN)
    PROBE_BW_UP = ("ProbeBW_UP", p.PROBE_UP_PACING_GAIN, p.PROBE_UP_CWND_GAIN)
    PROBE_RTT = ("ProbeRTT", 1.0, p.PROBE_RTT_CWND_GAIN)

    def __init__(self, label: str, pacing_gain: float, cwnd_gain: float) -> None:
        self.label = label
        self.pacing_gain = pacing_gain
        self.cwnd_gain = cwnd_gain
        # Plain attributes: they are read on every acknowledgment, where hashing a member would cost more.
        self.is_probe_bw = label.startswith("ProbeBW")
        "One of the ProbeBW cycle (5.3.3.9, IsInAProbeBWState)."
        self.is_probing = label in ("Startup", "ProbeBW_REFILL", "ProbeBW_UP")
        "The flow accelerates, so losses answer its own probe (5.3.3.9, IsProbingBW)."


class AckPhase(enum.Enum):
    """What the acknowledgments now arriving say about the bandwidth probe (2.14)."""

    INIT = "not probing"
    REFILLING = "filling the pipe"
    PROBE_STARTING = "inflight rising"
    PROBE_FEEDBACK = "feedback from the probe"
    PROBE_STOPPING = "probe over, feedback still coming"
