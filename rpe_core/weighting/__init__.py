"""Strategies that turn distances and features into weights; numpy only. No adapter or file belongs here."""
