"""Pushing audit records elsewhere: which of them, in which form, where to; and the senders that take them there.

What is beside `senders/` is pure. Edges push (`edge/audit/push/`); the control plane keeps the jobs and challenges
their destinations.
"""
