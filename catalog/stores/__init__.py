"""The four stores, each behind its own door; they do not know each other. No use case belongs here."""
