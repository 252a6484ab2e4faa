"""Faults injected on request: packets lost or delayed, registrations refused."""
