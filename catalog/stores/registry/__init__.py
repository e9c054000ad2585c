"""The model registry in MLflow, and the files of a version. No other room writes to it."""
