"""Whether what the stores hold is what was recorded. It reads, and mends nothing."""
