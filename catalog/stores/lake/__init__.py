"""The lake: DuckLake over Parquet, its session, errors, files and chain. No use case is here."""
