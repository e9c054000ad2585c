"""Wrapped lines and hidden signs keep no identifier from the gate, and make no false alarm."""

from __future__ import annotations

import textwrap

import pyarrow as pa
import pytest

from catalog.deid.check import scan_column, scan_text

UNJUDGED = "script_not_judged"
NOTE = (
    "Discharge summary. The patient, {0}, was admitted with shortness of breath and treated for "
    "Parkinson disease with 40 mg of furosemide; Bell's palsy is improving. {1} The chest is clear "
    "and the strength is 5/5 in both arms."
)
PLANTED = [
    ("date_month_day", "Seen on {}.", "March 14, 2019"),
    ("phone_north_american", "Call {} for results.", "734 555-0142"),
    ("ssn", "Registered as {}.", "219-09-9999"),
    ("mrn", "The {} was found.", "MRN 00417736"),
    ("age_years", "This is a {} woman.", "93-year-old"),
    ("street_address", "Mail goes to {}.", "4417 North Alder Ridge Road"),
    ("name_after_title", "Discussed with {} today.", "Dr. Qvarnstrom"),
    ("name_full", "Seen by {} today.", "Annika Quist"),
    ("email_address", "Write to {} please.", "a.quist@example.org"),
    ("code_uuid", "Linked as {}.", "3f2b8c1e-4417-4a6d-9c3e-0b7d5a1f2e44"),
]
ENDS = ["\n", "\r\n", "\r", "\n    ", "  \n", "\t", "   ", "\n> ", "\v", "\f", "\u2028", "\x85",
        "\u00a0", "\u2009", "\\n", "<br>", "&nbsp;", "\u200b\n"]  # fmt: skip


def rules(text: str) -> set[str]:
    return {finding.rule_id for finding in scan_text(text)}


@pytest.mark.parametrize("end", ENDS, ids=ascii)
@pytest.mark.parametrize(("rule", "carrier", "value"), PLANTED, ids=lambda part: str(part)[:12])
def test_a_break_between_the_words_of_an_identifier_hides_nothing(
    rule, carrier, value, end
) -> None:
    for place, sign in enumerate(value):
        if sign == " ":
            broken = value[:place] + end + value[place + 1 :]
            assert rule in rules(carrier.format(broken))


@pytest.mark.parametrize("end", ["\n", "\r\n   ", "\n> ", "\t"], ids=ascii)
@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ("ssn", "Registered as 219-09{}9999."),
        ("ssn", "Registered as 219{}09-9999."),
        ("phone_north_american", "Call 734{}555-0142 today."),
        ("phone_north_american", "Call 734-555{}0142 today."),
        ("date_month_day", "Seen on March{}14, 2019"),
        ("age_years", "A 93{}year-old man."),
    ],
)
def test_a_break_in_the_place_of_a_mark_hides_nothing(rule, text, end) -> None:
    assert rule in rules(text.format(end))


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ("ssn", "Registered as 219-09-\n9999."),
        ("ssn", "Registered as 219-09\n-9999."),
        ("date_numeric", "Seen 03/14/\n2019."),
        ("date_numeric", "Seen 14.03.\n2019 again."),
        ("age_years", "A 93-\nyear-old man."),
        ("date_month_day", "Seen on Septem-\nber 14."),
        ("name_surname", "I saw Okon-\nkwo again."),
        ("name_surname", "I saw Okon\u00ad\nkwo again."),
        ("email_address", "Write to a.quist@\nexample.org."),
        ("email_address", "Write to a.quist\n@example.org."),
        ("ip_v4", "Login from 203.0.\n113.77 today."),
        ("code_uuid", "Linked as 3f2b8c1e-4417-4a6d-\n9c3e-0b7d5a1f2e44."),
    ],
)
def test_an_identifier_cut_at_a_line_end_is_whole_again(rule, text) -> None:
    assert rule in rules(text)


@pytest.mark.parametrize("width", [20, 27, 33, 40, 56, 72, 80])
@pytest.mark.parametrize("end", ["\n", "\r\n  ", "\n> "], ids=ascii)
def test_wrapped_text_has_the_verdict_of_the_text_on_one_line(width, end) -> None:
    for rule, carrier, value in PLANTED:
        for text in (NOTE.format("a man", carrier.format(value)), NOTE.format("a man", "")):
            wrapped = end.join(textwrap.wrap(text, width, break_long_words=False))
            assert rules(wrapped) == rules(text)
            assert (rule in rules(text)) == (value in text)


@pytest.mark.parametrize(
    "text",
    [
        "Allergies:\n- Penicillin\n- Latex\nPlan:\n- Lasix 40 mg\n- Rose hip tea",
        "MEDICATIONS\nLasix 40 mg\nPLAN\nGrace period of two weeks",
        "Diagnoses\n1. COPD\n2. Gout\n3. Young onset diabetes",
        "Na\tK\tCl\n140\t4.1\t102\nWBC\tHgb\tPlt\n11.2\t9.8\t219",
        "Na 140   K 4.1   Cl 102   CO2 24   BUN 15   Cr 1.1",
        "Bell's\npalsy and Parkinson's\ndisease; Foley\ncatheter in place",
        "A1c was 7.\n14 days later it was 8.\n3. Recheck.",
        "He may\n2 of them take; march\nin place for 5 minutes",
        "Pain 3/10.\n\nStrength 5/5.\n\n\nTolerated well",
        "Doctor: How are you?\nPatient: Better.\nDoctor: Good.",
    ],
)
def test_items_rows_and_headings_are_not_joined_to_names(text) -> None:
    assert rules(text) == set()


def test_findings_stand_where_they_stand_in_the_text() -> None:
    name, digits = "Mar\u200bia\u00ad Okonk\u0301wo", "\u0660\u0660\u0664\u0661\u0667"
    text = f"Stable.\r\n\r\n  Seen on March\r\n   14, 2019 by {name}, MRN {digits}."
    found = {f.rule_id: text[f.start : f.end] for f in scan_text(text)}
    assert found["date_month_day"] == "March\r\n   14, 2019"
    assert found["name_full"] == name
    assert found["mrn"] == digits


HIDDEN = {
    "zero width space": "Mar\u200bia Okon\u200bkwo",
    "zero width joiner": "Mar\u200dia Okon\u200dkwo",
    "word joiner": "Mar\u2060ia Okon\u2060kwo",
    "byte order mark": "\ufeffMaria Okon\ufeffkwo",
    "soft hyphen": "Ma\u00adria Okon\u00adkwo",
    "direction marks": "\u202aMaria\u202c \u200eOkonkwo\u200f",
    "combining acute": "Mari\u0301a Okonkwo\u0301",
    "composed": "Mar\u00eda Okonkw\u00f3",
    "full width": "\uff2d\uff41\uff52\uff49\uff41 \uff2f\uff4b\uff4f\uff4e\uff4b\uff57\uff4f",
    "mathematical bold": "\U0001d40c\U0001d41a\U0001d42b\U0001d422\U0001d41a Okonkwo",
    "circled": "\u24c2\u24d0\u24e1\u24d8\u24d0 Okonkwo",
    "small capitals": "M\u1d00\u0280\u026a\u1d00 Okonkwo",
    "cyrillic lookalikes": "M\u0430ri\u0430 Ok\u043enkw\u043e",
    "greek lookalikes": "M\u03b1ri\u03b1 Ok\u03bfnkwo",
    "non-breaking space": "Maria\u00a0Okonkwo",
    "ideographic space": "Maria\u3000Okonkwo",
    "two spaces": "Maria  Okonkwo",
    "zero width between words": "Maria\u200bOkonkwo",
    "variation selector": "Maria\ufe0f Okonkwo\ufe0f",
    "tags": "Maria\U000e0020 Okonkwo",
    "null": "Mar\x00ia Okonkwo",
}


@pytest.mark.parametrize("name", HIDDEN.values(), ids=HIDDEN)
def test_no_sign_hides_a_name(name) -> None:
    text = f"Today {name} denies chest pain."
    found = [f for f in scan_text(text) if f.rule_id == "name_full"]
    assert found
    assert text[found[0].start : found[0].end].strip("\u202a\u202c\u200e\u200f\ufeff\ufe0f") in name


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ("ssn", "2\u200b1\u200b9-0\u200b9-9999"),
        ("ssn", "219\u201109\u20139999"),
        ("ssn", "219\u221209\u22129999"),
        ("ssn", "\uff12\uff11\uff19\u2013\uff10\uff19\u2013\uff19\uff19\uff19\uff19"),
        ("ssn", "\U0001d7d0\U0001d7cf\U0001d7d7-\U0001d7ce\U0001d7d7-9999"),
        ("phone_north_american", "734\u00b7555\u00b70142"),
        ("phone_north_american", "734\u2022555\u20220142"),
        ("phone_north_american", "7\ufe0f\u20e33\ufe0f\u20e34\ufe0f\u20e3-555-0142"),
        ("mrn", "MRN \u0660\u0660\u0664\u0661\u0667\u0667\u0663\u0666"),
        ("mrn", "MRN \u0966\u0966\u096a\u0967\u096d\u096d\u0969\u096c"),
        ("mrn", "MRN \u2080\u2080\u2084\u2081\u2087\u2087\u2083\u2086"),
        ("date_numeric", "03\u204414\u20442019"),
        ("date_numeric", "03\u221514\u22152019"),
        ("date_month_day", "Ma\u200crch 14, 2019"),
        ("email_address", "a.quist\uff20example\uff0eorg"),
    ],
    ids=ascii,
)
def test_no_sign_hides_a_number(rule, text) -> None:
    assert rule in rules(f"Seen: {text} today.")


OTHER_SCRIPTS = {
    "Cyrillic": "\u0436\u0430\u043b\u0443\u0435\u0442\u0441\u044f",
    "Ukrainian": "\u0431\u0456\u043b\u044c \u0443 \u0433\u0440\u0443\u0434\u044f\u0445",
    "Greek": "\u03c0\u03b1\u03c1\u03b1\u03c0\u03bf\u03bd\u03b9\u03ad\u03c4\u03b1\u03b9",
    "Chinese": "\u60a3\u8005\u4e3b\u8bc9\u80f8\u75db\u4e09\u5929",
    "Japanese": "\u80f8\u306e\u75db\u307f\u3092\u8a34\u3048\u308b",
    "katakana": "\u30da\u30cb\u30b7\u30ea\u30f3",
    "Korean": "\ud658\uc790\ub294 \ud749\ud1b5\uc744",
    "Arabic": "\u064a\u0634\u0643\u0648 \u0627\u0644\u0645\u0631\u064a\u0636",
    "Persian": "\u0628\u06cc\u0645\u0627\u0631 \u062f\u0631\u062f",
    "Hebrew": "\u05d4\u05d7\u05d5\u05dc\u05d4 \u05de\u05ea\u05dc\u05d5\u05e0\u05df",
    "Hindi": "\u092e\u0930\u0940\u091c\u093c \u0915\u094b \u0926\u0930\u094d\u0926",
    "Bengali": "\u09b0\u09cb\u0997\u09c0\u09b0 \u09ac\u09cd\u09af\u09a5\u09be",
    "Tamil": "\u0ba8\u0bcb\u0baf\u0bbe\u0bb3\u0bbf",
    "Thai": "\u0e1c\u0e39\u0e49\u0e1b\u0e48\u0e27\u0e22\u0e40\u0e08\u0e47\u0e1a",
    "Georgian": "\u10de\u10d0\u10ea\u10d8\u10d4\u10dc\u10e2\u10d8",
    "Armenian": "\u0570\u056b\u057e\u0561\u0576\u0564\u0568",
    "Amharic": "\u1273\u12ab\u121a\u12cd",
    "one Chinese sign": "\u7537",
    "Chinese with Latin terms": "\u60a3\u8005\u56e0\u80f8\u75db\u5165\u9662\uff0cCT normal",
}


@pytest.mark.parametrize("text", OTHER_SCRIPTS.values(), ids=OTHER_SCRIPTS)
def test_text_in_other_letters_is_not_called_clean(text) -> None:
    assert UNJUDGED in rules(text)
    assert UNJUDGED in rules(f"{text} 120/80, {text}")
    assert rules("No fever.") == set()


@pytest.mark.parametrize(
    "text",
    [
        "TNF-\u03b1, IFN-\u03b3 and \u03b2-hCG were measured; 5 \u00b5g of \u03949-THC.",
        "\u03b1\u03b2 T cells",
        "\u00b1 3 \u00b0C, 5\u00bd weeks, 10\u2079/L, \u2265 3, m\u00b2, CO\u2082",
        "\u2192 better, \u221e, \u2713, 10\u00b9\u00b2 copies, \u2079\u2079\u1d50Tc",
        "Feels better \U0001f600\U0001f44d\U0001f3fd \u2764\ufe0f",
        "na\u00efve, caf\u00e9-au-lait, Sj\u00f6gren syndrome, M\u00e9ni\u00e8re disease",
        "\u2022 aspirin 81 mg\n\u2022 heparin\n\u2713 done",
        "The word \u0431\u043e\u043b\u044c was used for pain by the patient.",
        "\u03b1",
        "\u03bc",
        "10\u00b3",
        "\u2126 5 \u212b",
        "Angstr\u00f6m \u212b, 300 \u212a",
        "12345 ... 67",
        "\U0001f600",
    ],
)
def test_signs_of_medicine_and_mixed_text_are_judged_as_they_were(text) -> None:
    assert rules(text) == set()


def test_an_identifier_in_a_text_of_other_letters_is_still_told() -> None:
    text = OTHER_SCRIPTS["Cyrillic"] + " MRN 00417736"
    assert {"mrn", UNJUDGED} <= rules(text)
    assert scan_column(pa.array([text])) == {0: ("mrn", UNJUDGED)}


@pytest.mark.parametrize(
    "text",
    [
        *("\n" * 40_000, "a\n" * 20_000, "a-\n" * 13_000, " \n" * 20_000, " " * 40_000 + "a"),
        *("." * 40_000 + "a\nb", "a" * 40_000 + "-\na", "> " * 20_000, "1.\n" * 13_000),
        *("\u200b" * 40_000, "a\u0301" * 20_000, "\u0430" * 40_000, "\u03b1a" * 20_000),
        *("\u7537" * 40_000, "A\nB " * 10_000, "<br>" * 10_000, "\\n" * 20_000, "&nbsp;" * 7_000),
    ],
    ids=lambda text: ascii(text[:3]),
)
def test_breaks_and_signs_do_not_explode(text) -> None:
    """Each of these takes a second at most; a quadratic reader, minutes."""
    assert isinstance(scan_text(text), list)


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ("name_full", "<p>Maria</p> <b>Okonkwo</b> was seen"),
        ("name_full", "<b>Maria</b><i> Okonkwo</i> was seen"),
        ("name_full", "<span class='n'>Maria</span>&nbsp;Okonkwo"),
        ("name_full", "M&aacute;ria Okonkw&#243; was seen"),
        ("ssn", "219&#45;09&#x2d;9999"),
        ("ssn", "219 - 09 - 9999"),
        ("date_month_day", "Seen on March \\\n14, 2019"),
        ("date_month_day", "| Seen on March\n| 14, 2019"),
        ("mrn", "MRN=\n00417736"),
        (
            "ssn",
            "The patient was seen in the clinic on the third floor today, SSN is 219-=\n09-9999.",
        ),
    ],
    ids=ascii,
)
def test_marks_of_a_page_or_a_mail_hide_nothing(rule, text) -> None:
    found = [f for f in scan_text(text) if f.rule_id == rule]
    assert found
    assert all(text[f.start : f.end].strip() for f in found)


@pytest.mark.parametrize(
    "text", ["p <0.05 & q >0.1; a<b and c>d", "R&D; AT&T; Q&A;", "WBC < 4 &gt; 2", "x &unknown; y"]
)
def test_signs_of_comparison_are_no_marks(text) -> None:
    assert rules(text) == set()
