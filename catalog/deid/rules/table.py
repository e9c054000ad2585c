"""The table of all rules of the Safe Harbor gate, in the order in which they are tried."""

from __future__ import annotations

from catalog.deid.rule import DeidRule
from catalog.deid.rules.ages import AGE_RULES
from catalog.deid.rules.codes import CODE_RULES
from catalog.deid.rules.contacts import CONTACT_RULES
from catalog.deid.rules.dates import DATE_RULES
from catalog.deid.rules.numbers import NUMBER_RULES
from catalog.deid.rules.people import PEOPLE_RULES
from catalog.deid.rules.people_lowercase import LOWER_CASE_RULES
from catalog.deid.rules.periods import PERIOD_RULES
from catalog.deid.rules.places import PLACE_RULES
from catalog.deid.rules.records import RECORD_RULES

RULES: tuple[DeidRule, ...] = (
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
