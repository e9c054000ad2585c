"""The demos' bases, made where no base can be downloaded. Their data lie in catalog/examples."""
