"""The DICOM header gate: a data set in, rule ids out; never an element's value.

It holds a header against the Basic Application Level Confidentiality Profile of DICOM PS3.15 (annex
E): what Table E.1-1 removes, empties or replaces must be absent, empty or a dummy, at any depth.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from importlib import resources
from typing import Any

from pydicom.datadict import keyword_for_tag

from catalog.deid.check import scan_text
from catalog.deid.gazetteer import fold
from catalog.deid.rule import words_of

RULES: Mapping[str, str] = {
    "dicom_<keyword>": "an element of PS3.15 Table E.1-1 holds more than a dummy",
    "dicom_person_name": "another element of type PN holds more than a dummy",
    "dicom_private": "an element of an odd group is not declared safe",
    "dicom_unknown": "an element of an even group is in no edition of PS3.6",
    "dicom_overlay": "a curve or overlay (groups 50xx, 60xx) may have text burned in",
    "dicom_identity_not_removed": "PatientIdentityRemoved (0012,0062) does not say YES",
    "dicom_burned_in": "BurnedInAnnotation (0028,0301) does not say NO, or is absent where pixels"
    " come from a screen or an ultrasound machine",
    "dicom_age_over_89": "PatientAge is over 89 years",
    "dicom_face": "a volume of a head from which a face can be made",
}
# What a person writes where a value was; also the names that the file's own path has (pseudonyms)
DUMMIES = frozenset(
    words_of(
        "1 ANON ANONYMISED ANONYMIZED ANONYMOUS DEIDENTIFIED DUMMY NA N/A NONE O PSEUDONYM"
        " REDACTED REMOVED UNKNOWN XXX XXXX 00010101 18000101 19000101"
    )
)
# Options of PS3.15 E.3 that DeidentificationMethodCodeSequence (0012,0064) may claim
MODIFIED_DATES, PATIENT_CHARACTERISTICS, CLEAN_DESCRIPTORS = "113107", "113108", "113105"
CHARACTERISTICS = frozenset(
    words_of(
        "Allergies EthnicGroup PatientAge PatientSex PatientSexNeutered PatientSize PatientState"
        " PatientWeight PreMedication PregnancyStatus SmokingStatus SpecialNeeds"
    )
)
DESCRIPTORS = frozenset(
    words_of(
        "AcquisitionComments AcquisitionDeviceProcessingDescription AcquisitionProtocolDescription"
        " ContrastBolusAgent DerivationDescription ImageComments PerformedProcedureStepDescription"
        " ProtocolName RequestedContrastAgent RequestedProcedureDescription SeriesDescription"
        " ScheduledProcedureStepDescription StudyDescription"
    )
)
SCREENS = frozenset(words_of("ES GM IVUS OP OT SC US XC"))  # modalities
HEADS = re.compile(r"BRAIN|CRANI|FACE|FACIAL|HEAD|JAW|MAXILL|ORBIT|SINUS|SKULL", re.IGNORECASE)
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_OLD_AGE = re.compile(r"(0?9[0-9]|1[0-9]{2})Y")
_DATES = ("DA", "DT", "TM")
_PIXELS = frozenset((0x7FE00008, 0x7FE00009, 0x7FE00010))


@cache
def profile_keywords() -> frozenset[str]:
    """Keywords of the elements that Table E.1-1 removes, empties or replaces."""
    text = resources.files("catalog.deid").joinpath("dicom_profile.txt").read_text("utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return frozenset(word for line in lines for word in line.split())


def header_findings(
    header: Any, *, pseudonyms: Collection[str], safe_private: Mapping[str, Collection[str]]
) -> set[str]:
    """The rules that a header (a pydicom Dataset) breaks.

    Args:
        header: the data set; pixels are not looked at.
        pseudonyms: texts that stand for the patient by declaration, as in the path of the file.
        safe_private: creator -> private elements such as `0019xx0c` that identify nobody.
    """
    options = _options(header)
    dummies = DUMMIES | {_plain(name) for name in pseudonyms}
    rules = {rule for item in _elements(header) for rule in _broken(item, options, dummies)}
    rules |= {"dicom_private"} if _has_private(header, safe_private) else set()
    if _text(header, "PatientIdentityRemoved") != "YES":
        rules.add("dicom_identity_not_removed")
    if _is_burned_in(header):
        rules.add("dicom_burned_in")
    if _OLD_AGE.fullmatch(_text(header, "PatientAge")):
        rules.add("dicom_age_over_89")
    return rules


def shows_face(header: Any, *, n_slices: int) -> bool:
    """Whether a face could be made from the volume: CT or MR of a head, more than one slice."""
    if n_slices < 2 or _text(header, "Modality") not in ("CT", "MR"):
        return False
    keywords = ("BodyPartExamined", "SeriesDescription", "StudyDescription", "ProtocolName")
    return any(HEADS.search(_text(header, keyword)) for keyword in keywords)


def _elements(header: Any) -> Iterator[Any]:
    """Elements at any depth; inside a sequence that must not be there nothing is looked at."""
    for item in header:
        if int(item.tag) in _PIXELS:
            continue
        yield item
        if item.VR == "SQ" and item.keyword not in profile_keywords() and not item.tag.is_private:
            for part in item.value:
                yield from _elements(part)


def _broken(item: Any, options: Collection[str], dummies: Collection[str]) -> Iterator[str]:
    if item.tag.is_private or item.tag.element == 0:
        return
    block = item.tag.group & 0xFF00
    if block == 0x5000 or (block == 0x6000 and item.tag.element in (0x3000, 0x4000)):
        yield "dicom_overlay"
    keyword = keyword_for_tag(item.tag)
    if not keyword:
        yield "dicom_unknown"
    elif keyword in profile_keywords():
        if not _is_dummy(item, dummies) and not _is_kept(item, keyword, options):
            yield f"dicom_{keyword}"
    elif item.VR == "PN" and not _is_dummy(item, dummies):
        yield "dicom_person_name"


def _is_dummy(item: Any, dummies: Collection[str]) -> bool:
    value = item.value
    if value is None or item.VR == "SQ":
        return not value
    if isinstance(value, bytes):
        return not value.strip(b"\0 ")
    cells = value if isinstance(value, list | tuple) or hasattr(value, "append") else [value]
    return all(_plain(cell).strip("0") == "" or _plain(cell) in dummies for cell in cells)


def _is_kept(item: Any, keyword: str, options: Collection[str]) -> bool:
    """Whether an option that the header claims lets the element stay as it is."""
    if item.VR in _DATES and MODIFIED_DATES in options and "Birth" not in keyword:
        return True
    if keyword in CHARACTERISTICS and PATIENT_CHARACTERISTICS in options:
        return True
    is_described = keyword in DESCRIPTORS and CLEAN_DESCRIPTORS in options
    return is_described and not scan_text(str(item.value))


def _options(header: Any) -> set[str]:
    codes = header.get("DeidentificationMethodCodeSequence") or []
    options = {_text(code, "CodeValue") for code in codes}
    if _text(header, "LongitudinalTemporalInformationModified") in ("MODIFIED", "REMOVED"):
        options.add(MODIFIED_DATES)
    return options


def _has_private(header: Any, safe: Mapping[str, Collection[str]]) -> bool:
    for item in header:
        if item.tag.is_private:
            if not _is_safe(header, item.tag, safe):
                return True
        elif item.VR == "SQ" and any(_has_private(part, safe) for part in item.value):
            return True
    return False


def _is_safe(header: Any, tag: Any, safe: Mapping[str, Collection[str]]) -> bool:
    """Whether a private element, or the name of its block, is of a creator declared safe."""
    if tag.is_private_creator:
        return str(header[tag].value) in safe
    creator = header.get((tag.group, tag.element >> 8))
    elements = safe.get(str(creator.value), ()) if creator is not None else ()
    return f"{tag.group:04x}xx{tag.element & 0xFF:02x}" in elements


def _is_burned_in(header: Any) -> bool:
    said = _text(header, "BurnedInAnnotation")
    if said:
        return said != "NO"
    is_capture = _text(header, "SOPClassUID").startswith(_SECONDARY_CAPTURE)
    return is_capture or _text(header, "Modality") in SCREENS


def _text(header: Any, keyword: str) -> str:
    value = header.get(keyword)
    return "" if value is None else str(value).strip().upper()


def _plain(value: object) -> str:
    return re.sub(r"[\s^._-]+", "", fold(str(value))).upper()
