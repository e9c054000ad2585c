"""SQL of the `mart` views, as package data. No Python belongs here."""
