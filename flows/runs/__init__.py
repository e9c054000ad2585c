"""How a run goes: processes, Prefect, progress, costs and its record. No step is named here."""
