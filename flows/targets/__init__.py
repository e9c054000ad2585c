"""What is asked about one target or decided on it: predict, replay, history, roll-back."""
