"""Withdrawing data: what it touched, what is withdrawn, what is erased. Nothing is rebuilt here."""
