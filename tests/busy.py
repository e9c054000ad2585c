"""A child that works for a while, for tests of what processes use: `main(folder)` alone."""

import os
import time
from pathlib import Path

CPU_SECONDS, MEMORY = 0.5, 300 << 20


def main(folder: Path) -> None:
    """Use so many CPU seconds and so much memory, and leave as the folder asks."""
    if (folder / "idle").exists():
        return
    held = bytearray(os.urandom(1 << 20) * (MEMORY >> 20))
    while time.process_time() < CPU_SECONDS:
        held[0] ^= 1
    if (folder / "fail").exists():
        raise ValueError
