"""One file per adapter method, none of which knows another. What all of them share lies above."""
