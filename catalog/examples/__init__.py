"""Contracts and plans that `rpe init` writes, and the demo world. No platform code belongs here."""
