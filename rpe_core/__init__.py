"""Arithmetic: values in, values out. No store, clock, network, environment or global seed belongs here."""
