"""Memory: contracts, checks and the four stores. No Prefect, training or decision about time belongs here."""
