"""The commands of `rpe` and what they print. No step is done here."""
