"""Every rule of the gate hits its example wherever it stands and leaves its near miss alone."""

from __future__ import annotations

import re

import pytest

from catalog.deid.check import scan_text
from catalog.deid.gazetteer import fold, is_only_given, is_only_surname, words
from catalog.deid.rule import IDENTIFIERS, DeidRule
from catalog.deid.rules.table import RULES
from catalog.deid.validators.checksums import RESTRICTED_ZIP3
from catalog.deid.validators.table import CHECKS

EPONYMS = ["Parkinson", "Crohn", "Hodgkin", "Down", "Foley", "Bell", "Graves", "Cushing"]
CARRIERS = [
    "{}",
    "Seen today. {} Stable, no fever.",
    "{}\nPlan: continue.",
    "hx reviewed, {}, afebrile.",
    "Lungs clear to auscultation.\n{}\nAbdomen soft.",
]
BY_ID = {rule.id: rule for rule in RULES}


def hits(text: str) -> set[str]:
    return {finding.rule_id for finding in scan_text(text)}


@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_rule_hits_its_example_and_not_its_near_miss(rule: DeidRule, carrier: str) -> None:
    assert rule.id in hits(carrier.format(rule.example))
    assert rule.id not in hits(carrier.format(rule.near_miss))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_rule_points_at_the_value(rule: DeidRule) -> None:
    text = f"Stable. {rule.example}, afebrile."
    found = [f for f in scan_text(text) if f.rule_id == rule.id]
    assert all(8 <= f.start < f.end <= 8 + len(rule.example) + 1 for f in found)
    assert {f.identifier for f in found} == {rule.identifier}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_rule_is_whole(rule: DeidRule) -> None:
    assert re.compile(rule.pattern).groupindex.get("v")
    assert not rule.check or rule.check in CHECKS
    assert all(word == word.lower() for word in rule.context)


def test_ids_are_unique_every_identifier_has_a_rule_and_every_check_is_used() -> None:
    assert len(BY_ID) == len(RULES)
    assert {rule.letter for rule in RULES} == set(IDENTIFIERS) == set("ABCDEFGHIJKLMNOPQR")
    assert {rule.check for rule in RULES if rule.check} == set(CHECKS)


@pytest.mark.parametrize("prefix", sorted(RESTRICTED_ZIP3))
def test_every_restricted_zip3_is_a_hit(prefix: str) -> None:
    assert "zip3_restricted" in hits(f"ZIP3 {prefix} only.")


@pytest.mark.parametrize("prefix", ["021", "606", "100", "941", "752"])
def test_other_zip3_may_stay(prefix: str) -> None:
    assert hits(f"Lives in ZIP3 {prefix}.") == set()


@pytest.mark.parametrize(
    "text",
    [
        "History of Parkinson disease and Crohn's disease.",
        "Hodgkin lymphoma, Down syndrome, Cushing syndrome and Graves disease were excluded.",
        "Foley catheter in place; Bell's palsy improving; Babinski sign negative.",
        "Murphy's sign and McBurney point tenderness are absent, Homan sign negative.",
        "Guillain-Barre, Stevens-Johnson and Ehlers-Danlos were discussed.",
        "Jackson-Pratt drain removed. Swan-Ganz catheter in place. Hickman line flushed.",
        "Seattle score 3, Glasgow coma scale 15, Boston criteria not met, Rome criteria met.",
        "Weaned from 40 mg to 20 mg over 3/4 of the course; strength 5/5, murmur 2/6, pain 7/10.",
        "BP 120/80, pulse 76, temperature 98.6 F, saturation 98 %, weight 192 pounds.",
        "She is an 89-year-old woman, married for 60 years, diagnosed in 2019.",
        "Seen on Monday at 10:30 and again two weeks later.",
        "May repeat the dose in 4 hours; march in place for 5 minutes.",
        "C5-C6 and L4-L5 discs are normal; T12 fracture is old; HbA1c 7.4.",
        "Lives in Ohio, born in Germany, moved from California to the United States.",
        "Allergies: Penicillin, Sulfa. Medications: Lasix 40 mg, Lipitor 20 mg, Allegra 180 mg.",
        "Dr. XYZ and Ms. ABC were told by Doctor X that Mr. A is stable.",
        "Patient: Yes, Doctor. Doctor: Good. Will you come back next week?",
        "Grade 3 of 4, stage IIB, 2 of 12 nodes, 1.5 x 2.0 x 3.0 cm, 10 to 12 weeks.",
        "Mutation c.1521_1523delCTT in CFTR; rs113993960; ICD-10 code E11.9; 22q11.2 deletion.",
        "A 5 mm nodule at 12 o'clock, 3 cm from the nipple, BI-RADS 4.",
    ],
)
def test_plain_clinical_text_is_left_alone(text: str) -> None:
    assert hits(text) == set()


def test_typography_hides_nothing() -> None:
    assert "ssn" in hits("SSN 219\u201109\u20139999")
    assert "name_full" in hits("Ren\u00e9e O\u2019Brien")
    assert "phone_north_american" in hits("(216)\u00a0555\u20130147")
    assert "mrn" in hits("MRN \uff10\uff10\uff14\uff11\uff17\uff17\uff13\uff16")


def test_folding_keeps_every_place() -> None:
    text = "".join(map(chr, range(0x20, 0x3000)))
    assert len(fold(text)) == len(text)


def test_word_lists_are_lower_case_and_long_enough() -> None:
    assert len(words("given_names")) > 1000
    assert len(words("surnames")) > 1000
    for name in ("given_names", "surnames", "ambiguous", "common_words", "eponym_nouns"):
        assert all(word == word.lower() for word in words(name))


@pytest.mark.parametrize("word", EPONYMS)
def test_eponyms_name_nobody_on_their_own(word: str) -> None:
    assert not is_only_given(word)
    assert not is_only_surname(word)
