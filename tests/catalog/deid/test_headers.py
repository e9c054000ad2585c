"""The DICOM header gate: every rule finds what it is about, and no finding holds a value."""

from __future__ import annotations

import pydicom
import pytest
from pydicom.datadict import tag_for_keyword

from catalog.deid.headers import RULES, header_findings, profile_keywords, shows_face
from tests.image_files import NAME, header


def findings(made: pydicom.Dataset, *pseudonyms: str, **safe: tuple[str, ...]) -> set[str]:
    found = header_findings(made, pseudonyms=pseudonyms, safe_private=safe)
    assert NAME not in repr(found)
    return found


def code(value: str) -> pydicom.Dataset:
    made = pydicom.Dataset()
    made.CodeValue = value
    return made


def test_the_table_of_the_standard_is_whole_and_known_to_the_dictionary():
    table = profile_keywords()
    assert len(table) > 500
    assert all(tag_for_keyword(keyword) is not None for keyword in table)
    assert {"PatientName", "PatientID", "InstitutionName", "StudyDate", "AccessionNumber"} <= table


def test_a_header_from_which_all_was_removed_passes():
    assert findings(header()) == set()


@pytest.mark.parametrize(
    ("elements", "rule"),
    [
        ({"PatientName": NAME}, "dicom_PatientName"),
        ({"PatientBirthDate": "19510203"}, "dicom_PatientBirthDate"),
        ({"StudyDate": "20240506"}, "dicom_StudyDate"),
        ({"InstitutionName": "St. Elsewhere"}, "dicom_InstitutionName"),
        ({"StudyDescription": f"for {NAME}"}, "dicom_StudyDescription"),
        ({"PatientAge": "093Y"}, "dicom_age_over_89"),
        ({"PatientIdentityRemoved": None}, "dicom_identity_not_removed"),
        ({"PatientIdentityRemoved": "NO"}, "dicom_identity_not_removed"),
        ({"BurnedInAnnotation": "YES"}, "dicom_burned_in"),
        ({"Modality": "US"}, "dicom_burned_in"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7.2"}, "dicom_burned_in"),
        ({"ScheduledPerformingPhysicianName": NAME}, "dicom_ScheduledPerformingPhysicianName"),
        ({"PersonName": NAME}, "dicom_PersonName"),
        ({"EvaluatorName": NAME}, "dicom_person_name"),
    ],
)
def test_what_identifies_is_found_by_its_rule(elements, rule):
    assert rule in findings(header(**elements))
    shown = rule if rule in RULES else "dicom_<keyword>"
    assert RULES[shown]


def test_dummies_and_the_names_of_the_path_are_no_finding():
    assert findings(header(PatientName="ANON^", PatientBirthDate="19000101")) == set()
    named = header(PatientName="case^017", PatientID="Case-017")
    assert findings(named, "case_017") == set()
    assert findings(named) == {"dicom_PatientName", "dicom_PatientID"}


def test_an_ultrasound_whose_owner_says_no_passes():
    assert findings(header(Modality="US", BurnedInAnnotation="NO")) == set()


def test_private_elements_need_a_creator_declared_safe():
    made = header()
    block = made.private_block(0x0019, "SIEMENS MR HEADER", create=True)
    block.add_new(0x0C, "IS", "50")
    assert findings(made) == {"dicom_private"}
    assert findings(made, **{"SIEMENS MR HEADER": ("0019xx0c",)}) == set()
    block.add_new(0x0D, "LO", NAME)
    assert findings(made, **{"SIEMENS MR HEADER": ("0019xx0c",)}) == {"dicom_private"}


def test_what_is_nested_is_found_too():
    inner = pydicom.Dataset()
    inner.ReferringPhysicianName = NAME
    made = header()
    made.SharedFunctionalGroupsSequence = [inner]
    assert findings(made) == {"dicom_ReferringPhysicianName"}
    inner.add_new(0x00090010, "LO", "ACME")
    assert "dicom_private" in findings(made)


def test_overlays_and_unknown_elements_are_found():
    made = header()
    made.add_new(0x60003000, "OW", b"\1\0")
    made.add_new(0x0010FFFE, "LO", NAME)
    assert findings(made) == {"dicom_overlay", "dicom_unknown"}


def test_options_that_the_header_claims_are_heard_as_far_as_they_go():
    dates = header(StudyDate="20240506", LongitudinalTemporalInformationModified="MODIFIED")
    assert findings(dates) == set()
    kept = header(PatientSex="F", PatientWeight="71", SeriesDescription="t2 axial", StudyDate="")
    assert findings(kept) == {
        "dicom_PatientSex", "dicom_PatientWeight", "dicom_SeriesDescription",
    }  # fmt: skip
    kept.DeidentificationMethodCodeSequence = [code("113105"), code("113108")]
    assert findings(kept) == set()
    kept.SeriesDescription = "seen by Dr. John Smith on 03/14/2019"
    assert findings(kept) == {"dicom_SeriesDescription"}


@pytest.mark.parametrize(
    ("elements", "n_slices", "shows"),
    [
        ({"BodyPartExamined": "HEAD"}, 20, True),
        ({"BodyPartExamined": "HEAD"}, 1, False),
        ({"BodyPartExamined": "PROSTATE"}, 20, False),
        ({"BodyPartExamined": "SKULL", "Modality": "CR"}, 20, False),
        ({"BodyPartExamined": None, "StudyDescription": "MRT Brain"}, 20, True),
    ],
)
def test_a_volume_of_a_head_shows_a_face(elements, n_slices, shows):
    assert shows_face(header(**elements), n_slices=n_slices) is shows
