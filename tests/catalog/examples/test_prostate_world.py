import dataclasses
import math

import numpy as np
import pytest
import yaml
from scipy import ndimage

from catalog.contracts.load import parse_contract
from catalog.examples.files import render
from catalog.examples.organ_phantoms import make_phantom
from catalog.examples.phantom import Organ, Scanner, Tissue, scan, signal
from catalog.examples.prostate_world import make_case, sites, tissues, write_world
from catalog.readers.volumes import decode_nifti

SITES = sites()
COILS = ("site_b", "site_e", "site_f")
QUIET = dataclasses.replace(SITES["site_a"], noise=0.0, bias=0.0, coil=0.0, blur=0.0, n_slices=2)
BODY = Organ("muscle", (0.0, 0.0, 0.0), (900.0, 60.0, 60.0), grain=0.0)
CENTRE = (0.0, 0.0, 0.0)


@pytest.fixture(scope="module")
def cases():
    return {site: make_case(site, 0) for site in SITES}


def test_a_case_is_a_function_of_site_number_and_seed(cases):
    first = cases["site_c"]
    again = make_case("site_c", 0)
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.mask, again.mask)
    for other in (make_case("site_c", 1), make_case("site_c", 0, seed=1)):
        assert not np.array_equal(first.image, other.image)
        assert not np.array_equal(first.mask, other.mask)
    with pytest.raises(KeyError):
        make_case("site_g", 0)


def test_files_are_the_same_on_every_run_and_hold_the_cases(tmp_path, cases):
    for folder in ("a", "b"):
        write_world(tmp_path / folder, cases={"test": 1})
    files = sorted(file.relative_to(tmp_path / "a") for file in (tmp_path / "a").rglob("*.gz"))
    assert len(files) == 2 * len(SITES)
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
        site, kind = file.parts[0], file.name.split(".")[1]
        picture = decode_nifti((tmp_path / "a" / file).read_bytes())
        assert np.array_equal(picture.pixels[..., 0], getattr(cases[site], kind))
        assert picture.spacing == pytest.approx(cases[site].spacing)


@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("number", [0, 30])
def test_a_mask_is_one_organ_of_a_possible_size_well_inside(site, number, cases):
    case = cases[site] if number == 0 else make_case(site, number)
    assert case.mask.dtype == np.uint8
    assert set(np.unique(case.mask)) == {0, 1}
    assert ndimage.label(case.mask, np.ones((3, 3, 3)))[1] == 1
    millilitres = case.mask.sum() * math.prod(case.spacing) / 1000
    assert 10 < millilitres < 120
    edge = np.ones_like(case.mask)
    edge[:, 4:-4, 4:-4] = 0
    assert not (case.mask & edge).any()
    assert case.mask.any(axis=(1, 2)).sum() >= 4


@pytest.mark.parametrize("site", SITES)
def test_a_site_has_the_size_and_spacing_of_its_scanner(site, cases):
    scanner, case = SITES[site], cases[site]
    assert case.image.shape == case.mask.shape
    assert case.image.shape == (scanner.n_slices, scanner.matrix, scanner.matrix)
    assert case.image.dtype == np.int16
    assert case.spacing == (scanner.spacing, scanner.pixel, scanner.pixel)


def test_the_far_site_has_the_least_contrast_and_the_strongest_coil():
    def ratio(site, bright, dark):
        return signal(tissues()[bright], SITES[site]) / signal(tissues()[dark], SITES[site])

    for bright, dark in (("urine", "fat"), ("peripheral", "central"), ("fat", "muscle")):
        assert min(SITES, key=lambda site, pair=(bright, dark): ratio(site, *pair)) == "site_e"
    assert max(SITES, key=lambda site: SITES[site].coil) == "site_e"
    assert {site for site in SITES if SITES[site].coil} == set(COILS)


def test_signal_is_that_of_a_spin_echo():
    scanner = dataclasses.replace(QUIET, tr=1000.0, te=50.0, t1_factor=0.5)
    expected = 0.8 * (1 - math.exp(-2.0)) * math.exp(-0.5)
    assert signal(Tissue(0.8, t1=1000.0, t2=100.0), scanner) == pytest.approx(expected)


def _scanned(scanner: Scanner) -> np.ndarray:
    return scan([BODY], tissues(), scanner, np.random.default_rng(0), coil_at=CENTRE).astype(float)


def test_what_the_scanner_does_can_be_measured_in_its_image():
    """Noise in air is Rayleigh: mean sigma sqrt(pi / 2); the coil doubles what it lies in."""
    clean = _scanned(QUIET)
    middle = QUIET.matrix // 2
    expected = QUIET.receiver * signal(tissues()["muscle"], QUIET)
    assert clean[:, middle, middle] == pytest.approx(expected, abs=1)
    noisy = _scanned(dataclasses.replace(QUIET, noise=0.2))
    sigma = 0.2 * clean[clean > 0].mean()
    assert noisy[:, :, :8].mean() == pytest.approx(sigma * math.sqrt(math.pi / 2), rel=0.05)
    lit = _scanned(dataclasses.replace(QUIET, coil=1.0)) / np.maximum(clean, 1)
    assert lit[0, middle, middle] == pytest.approx(2.0, abs=0.1)
    assert lit[0, middle, middle + 25] == pytest.approx(1 + 1 / 5, abs=0.1)
    slope = np.abs(np.diff(clean, axis=2)).max()
    assert np.abs(np.diff(_scanned(dataclasses.replace(QUIET, blur=6.0)), axis=2)).max() < slope / 2
    field = _scanned(dataclasses.replace(QUIET, bias=0.5))[clean > 0] / clean[clean > 0]
    assert 1.2 < field.max() / field.min() <= math.e


def test_a_phantom_for_pretraining_has_one_thing_that_stands_out():
    image, mask, spacing = make_phantom(3, matrix=64)
    again = make_phantom(3, matrix=64)
    assert np.array_equal(image, again[0])
    assert np.array_equal(mask, again[1])
    assert image.shape == mask.shape == (4, 64, 64)
    assert set(np.unique(mask)) == {0, 1}
    assert min(spacing) > 0
    assert not np.array_equal(image, make_phantom(4, matrix=64)[0])


def test_the_plan_serves_every_site_from_the_others():
    texts = render("prostate", data="/data", models="/models")
    plan = yaml.safe_load(texts["plan.yaml"])
    (reference,) = plan["references"]
    assert tuple(reference["sources"]) == tuple(SITES)
    assert [target["source"] for target in plan["targets"]] == list(SITES)
    assert {target["k"] for target in plan["targets"]} == {len(SITES) - 1}
    assert {f"sources/{site}.yaml" for site in SITES} == set(texts) - {"plan.yaml"}


@pytest.mark.parametrize("site", SITES)
def test_contracts_ask_for_the_prostate_in_the_files_that_are_written(site, tmp_path):
    name = f"sources/{site}.yaml"
    contract = parse_contract(render("prostate", data=tmp_path)[name], file=name)
    assert contract.source == site
    assert contract.task_spec.classes == ("prostate",)
    assert contract.files.path == f"{tmp_path}/{site}/{{split}}/{{case}}.image.nii.gz"
    assert (contract.key_column, contract.group_column) == ("case", "case")
