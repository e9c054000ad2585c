"""The name by which a workspace is told from others on the same lake."""

from __future__ import annotations

import uuid
from contextlib import suppress

from catalog.stores.disk import disk_errors
from flows.workspace.settings import Settings
from rpe_core.fingerprint import SHORT, fingerprint


def name_of(settings: Settings, *, is_made: bool) -> str:
    """What the workspace is called, '' while it has no name; `is_made` gives it one, once.

    A copy has another name than the original, because it lies elsewhere.
    """
    file = settings.root / "workspace.id"
    with disk_errors("the workspace", settings.root):
        if is_made and not file.exists():
            settings.root.mkdir(parents=True, exist_ok=True)
            part = file.with_name(f".{uuid.uuid4().hex}")
            part.write_text(f"{part.name[1:]}\n")
            with suppress(FileExistsError):  # made by another process meanwhile
                file.hardlink_to(part)
            part.unlink()
        return fingerprint([file.read_text(), str(settings.root)])[:SHORT] if file.exists() else ""
