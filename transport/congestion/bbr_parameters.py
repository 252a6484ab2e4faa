"""The constants of draft-ietf-ccwg-bbr, section 2, under the draft's names in Python spelling.

Rates are bytes per second, volumes bytes, times seconds.
"""

from __future__ import annotations

# 2.5, pacing
STARTUP_PACING_GAIN = 2.77
DRAIN_PACING_GAIN = 0.5
PACING_MARGIN = 0.01

# 2.6, congestion window
DEFAULT_CWND_GAIN = 2.0
PROBE_UP_CWND_GAIN = 2.25

# 2.8, core algorithm
LOSS_THRESHOLD = 0.02
BETA = 0.7
HEADROOM = 0.15
MIN_PIPE_PACKETS = 4

# 2.11 and 2.12, filter lengths: ProbeBW cycles, and packet-timed rounds
MAX_BW_FILTER_LENGTH = 2
EXTRA_ACKED_FILTER_LENGTH = 10

# 2.16, min_rtt and ProbeRTT
MIN_RTT_FILTER_LENGTH = 10.0
PROBE_RTT_CWND_GAIN = 0.5
PROBE_RTT_DURATION = 0.2
PROBE_RTT_INTERVAL = 5.0

# 5.3.1, leaving Startup
FULL_BW_GROWTH = 1.25
FULL_BW_ROUNDS = 3
STARTUP_FULL_LOSS_COUNT = 6

# 5.3.2, leaving Drain
DRAIN_MAX_ROUNDS = 3

# 5.3.3, ProbeBW
PROBE_DOWN_PACING_GAIN = 0.9
PROBE_UP_PACING_GAIN = 1.25
PROBE_UP_MAX_ROUNDS = 30
PROBE_WAIT_BASE = 2.0
RENO_ROUNDS = 63

# 5.6.2 and 5.6.3, control parameters
INITIAL_RTT_GUESS = 0.001
SEND_QUANTUM_TIME = 0.001
SEND_QUANTUM_PACKETS = 2
#: The draft's 64 KiB are the size of one offloaded burst. Here a quantum must last until a timer of an event loop fires
#: again, a millisecond later at best; the draft allows other ways to choose it.
SEND_QUANTUM_LIMIT = 1024 * 1024
#: Offload budget (5.5.8.2): for so long both hosts may leave packets or acknowledgments waiting in their event loops.
HOST_TIME = 0.002
#: Bound on extra_acked, as time at the present bandwidth. The draft has none, and its estimate then feeds on itself
#: (extra_acked raises cwnd, which bounds extra_acked); this is the bound of Linux.
EXTRA_ACKED_MAX_TIME = 0.1
