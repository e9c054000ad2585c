"""Exact search for the nearest references, over rows in memory. No store is known here."""
