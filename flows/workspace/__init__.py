"""The workspace: its settings, plan, contracts and opened stores, as every run is handed them."""
