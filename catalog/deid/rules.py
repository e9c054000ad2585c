"""The table of all rules of the Safe Harbor gate, in the order in which they are tried."""

from __future__ import annotations

from catalog.deid.rule import Rule
from catalog.deid.rules_ages import AGE_RULES
from catalog.deid.rules_codes import CODE_RULES
from catalog.deid.rules_contacts import CONTACT_RULES
from catalog.deid.rules_dates import DATE_RULES
from catalog.deid.rules_numbers import NUMBER_RULES
from catalog.deid.rules_people import PEOPLE_RULES
from catalog.deid.rules_people_lowercase import LOWER_CASE_RULES
from catalog.deid.rules_periods import PERIOD_RULES
from catalog.deid.rules_places import PLACE_RULES
from catalog.deid.rules_records import RECORD_RULES

RULES: tuple[Rule, ...] = (
    *PEOPLE_RULES,
    *LOWER_CASE_RULES,
    *PLACE_RULES,
    *DATE_RULES,
    *PERIOD_RULES,
    *AGE_RULES,
    *CONTACT_RULES,
    *NUMBER_RULES,
    *RECORD_RULES,
    *CODE_RULES,
)
