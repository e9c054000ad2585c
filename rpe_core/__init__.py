"""Arithmetic: values in, values out. No store, clock, network or environment belongs here."""
