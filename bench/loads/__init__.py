"""Loads that cost little, and answers checked cheaply."""
