"""The one training loop, and the only place that touches global random state. No store here."""
