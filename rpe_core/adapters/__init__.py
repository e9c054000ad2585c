"""One module per adapter method (recipe -> trainable module -> plain PEFT), no training loop."""
