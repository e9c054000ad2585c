"""Strategies that turn features into weights; numpy only. No adapter or file belongs here."""
