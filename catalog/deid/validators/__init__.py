"""Checks that a rule's match must pass, one file per kind of identifier, and their table."""
