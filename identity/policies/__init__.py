"""Policies: who may pass, as rules about a caller. Pure, and without any library."""
