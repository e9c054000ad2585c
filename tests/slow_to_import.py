"""What takes so long to import that a fork server is found at it."""

import os
import threading
from pathlib import Path

if "BEGUN" in os.environ:  # whoever collects doctests imports it too
    (Path(os.environ["BEGUN"]) / "importing").touch()
    threading.Event().wait(60)
