"""Visitors of every kind. Each carries out a plan, knows how to leave, and judges what it was answered."""
