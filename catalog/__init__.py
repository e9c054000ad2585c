"""Memory: contracts, checks and the four stores. No Prefect, training or schedule belongs here."""
