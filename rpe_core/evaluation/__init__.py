"""Metrics, intervals, comparisons and gates. No model and no store belongs here."""
