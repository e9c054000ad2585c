"""The source contract: model and loader. No data is read here."""
