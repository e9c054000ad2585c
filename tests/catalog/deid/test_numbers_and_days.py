"""Codes, dates and ages as they stand in notes: each form is found, its near misses are not."""

from __future__ import annotations

import pytest

from catalog.deid.check import scan_text

CARRIERS = ["{}", "Stable. {}.", "Seen today, {}, no rash.", "Lungs clear.\n{}\nAbdomen soft."]


def kinds(text: str) -> set[str]:
    return {finding.identifier for finding in scan_text(text)}


RECORDS = [
    *("00417736 to OR 4", "4417736 to ICU", "4417736 admitted from ED", "#00417736 in bed 12"),
    *("Patient 00417736 was seen", "pt 4417736 c/o pain", "Chart 0044177", "UR 4417736"),
    *("HAR 455363150", "CSN 10044177360", "FIN 100441773", "Encounter 441773602", "HN 4417736"),
    *("PatientID=00417736", "patient_id: 4417736", '"mrn_id": "4417736"', "Path C24-71989"),
    *("Pathology S19-4417", "Surgical pathology SP-24-01234", "biopsy (S24-71989) showed it"),
    *("slide C24-71989-A1", "specimen 24:CH00123", "Accession 44177360", "ACC# 44177360"),
    *("order 441773602", "case 24-004417", "Barcode 441773602", "see S24-71989"),
    *("study UID 1.2.840.113619.2.55.3.604688119.971", "2.25.329800735698586629295641978511506"),
    "SOPInstanceUID=1.3.6.1.4.1.14519.5.2.1.7009.2403.3342406571",
]
SECURITY = [
    *(
        "SS# 414277836",
        "SS#414277836",
        "SS # 414 27 7836",
        "S.S. no. 414277836",
        "SSN# 414-27-7836",
    ),
    *("soc sec # 414277836", "SSN (last 4) 7836", "last 4 of SS# 7836"),
]
AGES = [
    *(
        "97y male",
        "97yM",
        "97 yo",
        "97-yo",
        "97 y/o",
        "97 yrs old",
        "97 M with CHF",
        "97F presents",
    ),
    *("97/F with a fall", "M/97", "97 female with dementia", "97 years young", "ninety seven yo"),
    *("She is 98 and still drives", "He's 92 now", "my mother is 96 and healthy", "Pt is 95."),
    *("patient is 94 and frail", "her 95th birthday", "his hundredth birthday", "Age/Sex: 97/F"),
    *("born in 1921", "DOB 1921", "birth year: 1919"),
]
DAYS = [
    *(
        "late Sept",
        "early Oct",
        "mid-Nov",
        "since Feb",
        "in Aug",
        "last Dec",
        "end of Apr",
        "mid Jan",
    ),
    *("seen in late sept", "started early october", "between Sept and Nov", "sept/oct 2019"),
    *("Q3 2019", "Q3/2019", "3Q 2019", "2019 Q3", "2019-Q3", "in 3Q19", "Q3 of 2019", "H1 2019"),
    *("third quarter of 2019", "first half of 2019", "summer of 2019", "winter 2018", "2019-W32"),
    *("in the fall of 2019", "week 32 of 2019", "Christmas 2019", "2019 November", "2019/09"),
    *("the 14th of March", "March the 14th", "Sept. 2019", "Sept '19", "mar 14 2019", "2019-09"),
    *("on 3/14", "CXR 3/14", "d/c 3/14", "f/u 3/14", "Mon 3/14", "seen (3/14)", "on 14/3"),
    *("3/14-3/18", "3/28 to 4/2", "on 3-14-19", "03 14 2019", "2019 03 14", "04/23 1973"),
    "04 23/1973",
]


@pytest.mark.parametrize("carrier", CARRIERS, ids=ascii)
@pytest.mark.parametrize(
    ("identifiers", "text"),
    [
        *(({"medical_record", "account", "unique_code"}, text) for text in RECORDS),
        *(({"ssn"}, text) for text in SECURITY),
        *(({"date_or_age"}, text) for text in (*AGES, *DAYS)),
    ],
    ids=lambda part: part if isinstance(part, str) else "",
)
def test_it_is_found(identifiers, text, carrier) -> None:
    assert identifiers & kinds(carrier.format(text))


NEAR_MISSES = [
    # what stands for a number, and numbers of nobody
    *("MRN 0000000", "MRN: XXXXX", "MRN: 0000000000", "SSN 000-00-0000", "SSN: 999-99-9999"),
    *("Phone: 000-000-0000", "phone 555-555-5555", "acct 0000000", "Accession number 000000"),
    *("viral load 4417736 copies/ml", "platelets 414277", "10000000 units", "sample of 1000000"),
    *("$4417736", "n=1204", "about 4417736 to home care", "100000 patients", "patient 12"),
    # codes of diseases, procedures, tests, drugs, genes, devices
    *("ICD-10 E11.9", "ICD code Z79.4", "CPT code 99213", "LOINC 14647-2", "SNOMED CT: 73211009"),
    *("RxNorm 860975", "NDC 0093-7180-01", "NDC 00093718001", "HP:0001250", "OMIM 143100"),
    *("NCT01234567", "PMID 12345678", "EC 1.14.16.1", "rs113993960", "specimen CD34 positive"),
    *("Medtronic Model 5076", "Model DTBA1D4", "HLA-B27", "COVID-19", "T12-L1", "1.2.3.4.5.6"),
    *("Transfer syntax 1.2.840.10008.1.2.4.70", "LOINC is 2.16.840.1.113883.6.1"),
    # ages up to 89, and numbers that are no age
    *("BP 98/60", "BP 98 and rising", "pulse 98 and regular", "She is 98 % on room air"),
    *("She is 98 on room air", "Her sat is 98 and stable", "She is 101 and febrile"),
    *("He was 98.6 and comfortable", "she is 89 and still drives", "T 98.6F with chills"),
    *(
        "97 male patients",
        "97 male and 95 female",
        "born 1850 grams",
        "score 95 of 100",
        "born in 1951",
        "85th birthday",
    ),
    # fractions, scores, months that are other words, a year alone
    *("3/14 lymph nodes positive", "GCS 11/15", "MMSE 28/30", "strength 4/5", "murmur 2/6-3/6"),
    *("pain 7/10", "1/2 tablet", "20/40 vision", "on call 24/7", "2/2 to trauma", "3/12 months"),
    *("nasal Sept deviation", "interventricular sept", "he may return", "march in place"),
    *("OCT showed macular edema", "last OCT 2 months ago", "Q3 hours", "q3h", "H1 blocker"),
    *("s/p fall 2019", "fall in 2019", "spring water", "week 32 of pregnancy", "W32", "in 2019"),
    *("2018-2019", "2009/10", "third quarter of the moon", "Christmas disease 2019", "to OR 4"),
]


@pytest.mark.parametrize("carrier", CARRIERS, ids=ascii)
@pytest.mark.parametrize("text", NEAR_MISSES)
def test_its_near_misses_are_left_alone(text, carrier) -> None:
    assert kinds(carrier.format(text)) == set()


def test_a_score_out_of_ten_is_told_by_what_stands_near() -> None:
    far = " No fever." * 20
    assert kinds(f"Admitted on 3/10.{far} Pain is better.") == {"date_or_age"}
    assert kinds(f"Pain rated on 3/10.{far}") == set()
