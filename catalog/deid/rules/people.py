"""Rules for names of persons (A): context, gazetteers and both."""

from __future__ import annotations

from catalog.deid import people_words as near
from catalog.deid.person_acts import BETWEEN
from catalog.deid.rule import CAP, INITIALED, NAMES, PARTICLE, TITLED, DeidRule, words_of

PEOPLE_RULES: tuple[DeidRule, ...] = (
    DeidRule(
        id="name_after_title",
        letter="A",
        pattern=r"\b(?:(?:[Mm]rs?|MRS?|[Mm]s|MS|[Mm]x|[Dd]rs?|DR|[Pp]rof|PROF|Sr|Sra|Mme|Hr|"
        r"(?<![0-9][ -])Fr)\.?"
        r"|[Mm]iss(?:us)?|[Mm]ister|MISS|[Dd]octors?|DOCTOR|[Pp]rofessor|Herr|Frau|Se[nn]ora?)"
        rf"\s{{1,2}}(?P<v>(?!(?:[A-Z]\. ?)+Don't){INITIALED}|{NAMES})",
        example="Dr. Qvarnstrom",
        near_miss="Dr. XYZ",
        gate="upper",
        check="titled",
        context=near.TITLES,
    ),
    DeidRule(
        id="name_after_role",
        letter="A",
        pattern=rf"\b(?i:{near.ROLE_LABELS})\s(?P<v>{NAMES})",
        example="social worker Tanisha",
        near_miss="Nurse Practitioner",
        gate="upper",
        check="officer",
        context=near.ROLES,
    ),
    DeidRule(
        id="name_before_credential",
        letter="A",
        pattern=rf"\b(?P<v>{INITIALED}|{NAMES}),? (?:MD|M\.D\.|DO|D\.O\.|RN|R\.N\.|NP|N\.P\.|PA-C|"
        r"P\.A\.|PhD|Ph\.D\.|DDS|D\.D\.S\.|DMD|DPM|LCSW|LPN|CRNA|FNP(?:-C|-BC)?|ARNP|APRN|PharmD|"
        r"MBBS|FRCS|FACS|FACC|FACP|Esq|DVM|PsyD|LMFT|MSW|BSN|MSN|CNM|RPh|DPT)(?![A-Za-z])",
        example="Lindqvist, MD",
        near_miss="Attending MD",
        gate="upper",
        check="credentialed",
        context=near.CREDENTIALS,
    ),
    DeidRule(
        id="name_after_label",
        letter="A",
        pattern=rf"(?:\A|(?<=[\s;,.|(/*>-]))(?i:{near.LABELS})(?:\(s\))? ?(?:[:=|#]| - ) ?"
        rf"(?P<v>{CAP}, ?{CAP}(?: [A-Z]\b)?|{INITIALED}|{NAMES})",
        example="Next of kin: Aurelinde Quist",
        near_miss="Provider: Cardiology",
        gate="label",
        check="labelled",
    ),
    DeidRule(
        id="name_after_role_is",
        letter="A",
        pattern=r"\b(?i:next of kin|emergency contact(?: person)?|pcp|attending(?: "
        r"physician)?|proxy|"
        r"guarantor|surgeon|guardian|primary care (?:physician|provider|doctor)|interpreter|"
        rf"power of attorney|poa) (?:is|was|will be) (?:(?:his|her|their|the) [a-z]+,? )?"
        rf"(?P<v>{INITIALED}|{NAMES})",
        example="Next of kin is Aurelinde Quist",
        near_miss="Attending is Cardiology",
        gate="upper",
        check="listed_or_two",
        context=words_of(
            "kin contact pcp attending proxy guarantor surgeon guardian primary interpreter "
            "attorney poa"
        ),
    ),
    DeidRule(
        id="name_after_patient_label",
        letter="A",
        pattern=rf"\b(?i:patient|pt|client)\s?[:#-] ?(?P<v>{CAP}, ?{CAP}|{NAMES})",
        example="Patient: Maria Okonkwo",
        near_miss="Patient: Yes Doctor",
        gate="upper",
        check="patient_label",
        context=("patient", "pt", "client"),
    ),
    DeidRule(
        id="name_after_by",
        letter="A",
        pattern=rf"\b(?i:{near.BY}) by:? (?:(?:his|her|their|the) [a-z]+,? )?"
        rf"(?P<v>{CAP}, {CAP}|{INITIALED}|{NAMES})",
        example="dictated by Aurelinde Quist",
        near_miss="seen by Cardiology",
        gate="upper",
        context=("by",),
        check="listed_or_two",
    ),
    DeidRule(
        id="name_after_contact",
        letter="A",
        pattern=rf"\b(?i:{near.WITH}) (?P<v>{INITIALED}|{NAMES})",
        example="spoke with Aurelinde Quist",
        near_miss="spoke with Radiology",
        gate="upper",
        check="contacted",
        context=near.CONTACT_WORDS,
    ),
    DeidRule(
        id="name_of_relative",
        letter="A",
        pattern=rf"\b(?i:{near.RELATIVES})(?:,| is|:)? (?P<v>{NAMES})",
        example="his daughter Annika",
        near_miss="his mother Parkinson",
        gate="upper",
        check="listed_relative",
        context=near.RELATIVE_WORDS,
    ),
    DeidRule(
        id="name_of_relative_in_commas",
        letter="A",
        pattern=rf"\b(?i:{near.RELATIVES}), (?P<v>{TITLED}(?: {TITLED})?),",
        example="his wife, Aurelinde, was present",
        near_miss="his wife, However, was present",
        gate="upper",
        check="plausible",
        context=near.RELATIVE_WORDS,
    ),
    DeidRule(
        id="name_after_named",
        letter="A",
        pattern=r"\b(?i:my name is|name is|names? are|named|nicknamed|goes by|"
        rf"(?:{near.RELATIVES}|{near.PATIENTS}) called|maiden name(?: of| was)?|addressed as|alias|"
        r"a\.k\.a\.|"
        rf"my name's|n[e]e|d/b/a) (?P<v>{INITIALED}|{NAMES})",
        example="my name is Aurelinde",
        near_miss="named Crohn disease",
        gate="upper",
        check="named",
        context=near.NAMING,
    ),
    DeidRule(
        id="name_of_speaker",
        letter="A",
        pattern=rf"\b(?:I am|I'm|[Tt]his is|[Ii]t's|[Mm]eet|[Ii]ntroduce|for) (?P<v>{NAMES})",
        example="I am Annika",
        near_miss="I am Christian",
        gate="upper",
        check="listed",
        context=("am", "m", "this", "it", "meet", "introduce", "for"),
    ),
    DeidRule(
        id="name_after_greeting",
        letter="A",
        pattern=r"\b(?i:hi|hello|hey|dear|thanks|thank you|good (?:morning|afternoon|evening)|bye|"
        rf"goodbye|welcome|sorry|okay|ok|yes|no|sure|well|come in),? (?P<v>{TITLED})(?=[\s,.!?]|$)",
        example="Hello, Mark.",
        near_miss="Thank you, Doctor.",
        gate="upper",
        check="greeted",
        context=near.GREETINGS,
    ),
    DeidRule(
        id="name_of_patient",
        letter="A",
        pattern=rf"\b(?i:{near.PATIENTS})(?:,| is| was)? (?P<v>{INITIALED}|{NAMES})",
        example="the patient Annika was seen",
        near_miss="Patient Education",
        gate="upper",
        check="listed",
        context=near.PATIENT_WORDS,
    ),
    DeidRule(
        id="name_as_subject",
        letter="A",
        pattern=rf"\b(?P<v>{TITLED}, {TITLED}|{INITIALED}|{NAMES}),? {BETWEEN}(?:{near.VERBS})",
        example="Okonkwo denies chest pain",
        near_miss="Radiology reports no fracture",
        gate="upper",
        check="subject",
        context=near.VERB_WORDS,
    ),
    DeidRule(
        id="name_full",
        letter="A",
        pattern=rf"\b(?P<v>{CAP}[ \n](?:(?:[A-Z]\.?|{CAP}) )?{PARTICLE}?{CAP})\b",
        example="Annika Quist",
        near_miss="Guillain Barre",
        gate="upper",
        check="full_name",
    ),
    DeidRule(
        id="name_surname_first",
        letter="A",
        pattern=rf"\b(?P<v>{PARTICLE}?{CAP}, ?{CAP}(?: [A-Z]\b\.?)?)",
        example="OKONKWO, ANNIKA B",
        near_miss="White, Brown",
        gate="upper",
        check="surname_first",
    ),
    DeidRule(
        id="name_with_initials",
        letter="A",
        pattern=rf"(?<![\w.])(?P<v>(?:[A-Z]\. ?){{1,2}}{PARTICLE}?{CAP})\b",
        example="J. R. Okonkwo",
        near_miss="C. Difficile",
        gate="upper",
        check="listed",
    ),
    DeidRule(
        id="name_and_initial",
        letter="A",
        pattern=rf"\b(?P<v>{TITLED} [A-Z])(?=\.?[,;)]|\.?(?:'s)? (?:{near.VERBS})|\.? (?:who|"
        rf"and|to|is|was|"
        r"has|for|with|on|at|about)\b|\.\s*$|\.?\n)",
        example="Robert S., with COPD",
        near_miss="Vitamin D, with calcium",
        gate="upper",
        check="initialed",
    ),
    DeidRule(
        id="name_in_carets",
        letter="A",
        pattern=r"(?<![\w^])(?P<v>[A-Za-z][A-Za-z' "
        r"-]{1,40}\^[A-Za-z][A-Za-z'-]*(?:\^[A-Za-z.' -]{0,20}){0,3})",
        example="HAVERFIELD^TAMSIN",
        near_miss="ANONYMOUS^PATIENT",
        gate="caret",
        check="person_name",
    ),
    DeidRule(
        id="name_given",
        letter="A",
        pattern=rf"\b(?P<v>{CAP})(?: [A-Z]\.)?(?![\w])",
        example="Annika",
        near_miss="Grace",
        gate="upper",
        check="given",
    ),
    DeidRule(
        id="name_surname",
        letter="A",
        pattern=r"\b(?P<v>[A-Z][a-z]{3,})\b",
        example="saw Okonkwo again",
        near_miss="saw Hodgkin again",
        gate="upper",
        check="surname",
    ),
)
