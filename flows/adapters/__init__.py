"""Adapters that come in and go out: import, export, and what is asked of a stranger's."""
