"""Licenses: which is stricter, and the strictest of several, which a merged model inherits."""

from __future__ import annotations

from collections.abc import Sequence

# From the most open to the strictest. A licence of our own making ("internal", a contract's number)
# is unknown to us and stands above every public one, because nobody outside may rely on it.
LICENSE_ORDER: tuple[tuple[str, ...], ...] = (
    ("public-domain", "cc0-1.0", "unlicense", "0bsd"),
    ("apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "isc", "odc-by", "pddl-1.0"),
    ("cc-by-2.0", "cc-by-3.0", "cc-by-4.0"),
    ("cc-by-sa-3.0", "cc-by-sa-4.0", "odbl-1.0", "gpl-3.0", "lgpl-3.0", "mpl-2.0"),
    ("cc-by-nd-4.0",),
    ("cc-by-nc-3.0", "cc-by-nc-4.0"),
    ("cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0"),
    ("cc-by-nc-nd-4.0",),
    ("research-only", "non-commercial"),
)


_RANKS = {name: rank for rank, names in enumerate(LICENSE_ORDER) for name in names}


_UNKNOWN_RANK = len(LICENSE_ORDER)


_CLOSED_RANKS = {"internal": _UNKNOWN_RANK + 1, "restricted": _UNKNOWN_RANK + 2}


UNSPECIFIED = "unspecified"


def license_rank(name: str) -> int:
    """How strict a licence is: larger is stricter, and a name that is not public is above those.

    >>> license_rank("CC0-1.0") < license_rank("cc-by-4.0") < license_rank("internal")
    True
    """
    key = name.strip().lower()
    return _CLOSED_RANKS.get(key, _RANKS.get(key, _UNKNOWN_RANK))


def strictest_license(licenses: Sequence[str]) -> str:
    """The licence that what is made of all of these must be held to.

    Different licences of one rank bind together, because neither covers the other.

    >>> strictest_license(["CC-BY-4.0", "cc0-1.0"])
    'CC-BY-4.0'
    >>> strictest_license(["agreement 7", "agreement 4", "MIT"])
    'agreement 4 AND agreement 7'
    >>> strictest_license([])
    'unspecified'
    """
    if not licenses:
        return UNSPECIFIED
    strictest = max(license_rank(name) for name in licenses)
    bound = {name.strip().lower(): name.strip() for name in sorted(licenses)}
    return " AND ".join(
        shown for key, shown in sorted(bound.items()) if license_rank(key) == strictest
    )
