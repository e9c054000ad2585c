"""Contracts and plans that `rpe init` writes, as package data. No code of the platform belongs here."""
