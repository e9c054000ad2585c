"""One module per adapter method (recipe -> trainable module -> plain PEFT). No training loop belongs here."""
