"""The four stores, each behind its own door, strangers to each other. No use case belongs here."""
