"""Solvers of quadratic problems behind the strategies; numpy only. No strategy is named here."""
