"""Whole experiments: a protocol, the night's steps on a plan of its own, and its conclusion."""
