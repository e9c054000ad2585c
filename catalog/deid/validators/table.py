"""Every check that a rule can ask for, by the name that the rules use."""

from __future__ import annotations

from catalog.deid.rule import Check
from catalog.deid.validators.codes import CODE_CHECKS
from catalog.deid.validators.contacts import CONTACT_CHECKS
from catalog.deid.validators.dates import DATE_CHECKS
from catalog.deid.validators.people import PEOPLE_CHECKS
from catalog.deid.validators.people_lowercase import LOWER_CASE_CHECKS
from catalog.deid.validators.places import PLACE_CHECKS

CHECKS: dict[str, Check] = {
    **PEOPLE_CHECKS,
    **LOWER_CASE_CHECKS,
    **PLACE_CHECKS,
    **DATE_CHECKS,
    **CONTACT_CHECKS,
    **CODE_CHECKS,
}
"""A check takes a match and says whether it is an identifier indeed."""
