"""Pictures at their full depth and as they are shown, held against Pillow and tifffile."""

from __future__ import annotations

import io
import itertools
import logging
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from catalog.readers.cells import CellRefusedError
from catalog.readers.images import load_image, load_mask
from tests.image_files import (
    NAME,
    blob,
    picture,
    png_chunk,
    write_deep_png,
    write_png,
    write_tiff,
)

GREY = picture(blob((5, 7)))
ORIENTATION = 274


def load(path: Path) -> np.ndarray:
    return load_image([str(path)], "image").picture.pixels


def refusal(path: Path) -> str:
    with pytest.raises(CellRefusedError) as caught:
        load(path)
    return caught.value.reason


def numbers(kind: str, n_channels: int) -> np.ndarray:
    """All over the range of a type, and of floats some fractions."""
    rng = np.random.default_rng(n_channels)
    dtype = np.dtype(kind)
    if dtype.kind == "f":
        return (rng.random((9, 7, n_channels)) * 4000 - 900).astype(dtype)
    info = np.iinfo(dtype)
    most = min(int(info.max), 2**40)
    return rng.integers(info.min, most, (9, 7, n_channels), dtype, endpoint=True)


@pytest.mark.parametrize("n_channels", [1, 2, 3, 4])
def test_a_png_of_16_bits_keeps_them_all_and_drops_alpha(tmp_path, n_channels):
    pixels = numbers("u2", n_channels)
    pixels[0, 0] = 4095  # whose high byte is 15: what came before was black
    found = load(write_deep_png(tmp_path / "a.png", pixels))
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found[0], pixels[..., : 3 if n_channels > 2 else 1])


KINDS = ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8")


@pytest.mark.parametrize("kind", KINDS)
def test_a_tiff_of_any_sample_type_is_its_numbers(tmp_path, kind):
    ways = itertools.product((1, 3), "<>", (1, 2), (1, 8))
    for n_channels, order, planar, compression in ways:
        pixels, path = numbers(kind, n_channels), tmp_path / "a.tif"
        write_tiff(path, pixels, order=order, planar=planar, compression=compression)
        peer = tifffile.imread(path)
        peer = np.moveaxis(peer, 0, -1) if planar == 2 and n_channels > 1 else peer
        np.testing.assert_array_equal(peer.reshape(pixels.shape), pixels)
        found = load(path)
        np.testing.assert_allclose(found[0], pixels.astype(np.float64), rtol=1e-6)
        assert found.dtype in (np.uint8, np.uint16, np.int16, np.float32)


def test_what_follows_the_colours_of_a_tiff_is_dropped(tmp_path):
    for n_channels, extra in ((4, 2), (5, 0)):
        pixels = numbers("u2", n_channels)
        found = load(write_tiff(tmp_path / "a.tif", pixels, extra=extra))
        np.testing.assert_array_equal(found[0], pixels[..., :3])
    grey = numbers("u2", 2)
    np.testing.assert_array_equal(
        load(write_tiff(tmp_path / "a.tif", grey, extra=2))[0], grey[..., :1]
    )


def test_colours_that_were_stored_times_their_alpha_are_divided_by_it(tmp_path):
    colours = np.array([[[60000, 30000, 0]], [[65535, 1, 2]]], np.float64)
    alpha = np.array([[[32768]], [[65535]]], np.float64)
    stored = np.concatenate([np.round(colours * alpha / 65535), alpha], axis=-1).astype(np.uint16)
    found = load(write_tiff(tmp_path / "a.tif", stored, extra=1))
    np.testing.assert_allclose(found[0], colours, atol=1)


@pytest.mark.parametrize(("n_channels", "planar"), [(2, 1), (4, 1), (5, 1), (5, 2)])
@pytest.mark.parametrize("kind", ["u1", "u2", "f4"])
def test_channels_that_are_no_colours_are_refused_as_such(tmp_path, n_channels, planar, kind):
    pixels = numbers(kind, n_channels)
    path = write_tiff(tmp_path / "a.tif", pixels, photometric=1, planar=planar)
    assert refusal(path) == "odd_axes"


def test_a_tiff_that_nothing_decodes_is_called_so_and_a_cut_one_damaged(tmp_path):
    deep = numbers("u2", 4)
    path = write_tiff(tmp_path / "a.tif", deep, photometric=5)  # CMYK, which would be cut
    assert refusal(path) == "unsupported_image"
    for compression in (1, 8):
        path = write_tiff(tmp_path / "b.tif", numbers("f8", 3), compression=compression)
        raw = bytearray(path.read_bytes())
        at = raw.index(struct.pack("<HH", 257, 4)) + 8
        raw[at : at + 4] = struct.pack("<I", 90)  # ten times the rows that are there
        path.write_bytes(raw)
        assert refusal(path) == "unreadable_image"


def test_strips_that_libtiff_packed_are_unpacked(tmp_path):
    """LZW and PackBits, taken from what libtiff writes of the same bytes as a grey picture."""
    pixels = np.round(numbers("f8", 1))  # most of its bytes are zero
    for name, code in (("tiff_lzw", 5), ("packbits", 32773)):
        flat = Image.fromarray(pixels.view(np.uint8).reshape(9, -1))
        flat.save(tmp_path / "flat.tif", compression=name)
        with tifffile.TiffFile(tmp_path / "flat.tif") as file:
            start, length = file.pages[0].dataoffsets[0], file.pages[0].databytecounts[0]
        strip = (tmp_path / "flat.tif").read_bytes()[start : start + length]
        raw = write_tiff(tmp_path / "a.tif", pixels).read_bytes()
        plain = pixels.tobytes()
        at = raw.index(plain)
        raw = raw[:at] + strip.ljust(len(plain), b"\0") + raw[at + len(plain) :]
        raw = raw.replace(struct.pack("<HHII", 259, 3, 1, 1), struct.pack("<HHII", 259, 3, 1, code))
        (tmp_path / "a.tif").write_bytes(raw)
        np.testing.assert_allclose(load(tmp_path / "a.tif")[0], pixels, rtol=1e-6)


@pytest.mark.parametrize(("kind", "n_channels"), [("f2", 1), ("f4", 3), ("f8", 1), ("f8", 3)])
def test_floats_under_their_predictor_are_put_together(tmp_path, kind, n_channels):
    """As Adobe's technical note 3 has it: bytes of one weight together, then differences."""
    pixels = numbers(kind, n_channels)
    size, path = pixels.dtype.itemsize, tmp_path / "a.tif"
    by_weight = pixels.astype(f">{kind}").view(np.uint8).reshape(9, -1, size).transpose(0, 2, 1)
    steps = np.diff(by_weight.reshape(9, -1, n_channels), axis=1, prepend=np.uint8(0))
    raw = write_tiff(path, pixels, predictor=3).read_bytes()
    assert pixels.tobytes() in raw
    path.write_bytes(raw.replace(pixels.tobytes(), steps.tobytes()))
    np.testing.assert_allclose(load(path)[0], pixels, rtol=1e-6)


def oriented_file(path: Path, pixels: np.ndarray, orientation: int) -> Path:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return write_png(path, pixels, exif=exif.tobytes())


def shown(path: Path) -> np.ndarray:
    """What Pillow shows of a picture with EXIF."""
    with Image.open(path) as opened:
        return np.asarray(ImageOps.exif_transpose(opened))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_as_its_orientation_says(tmp_path, orientation):
    for ending in ("jpg", "png"):
        path = oriented_file(tmp_path / f"a.{ending}", GREY, orientation)
        np.testing.assert_array_equal(load(path)[0, :, :, 0], shown(path))
    expected = shown(tmp_path / "a.png")
    assert expected.shape == ((7, 5) if orientation > 4 else (5, 7))
    for compression in (1, 8):
        path = tmp_path / "a.tif"
        write_tiff(path, GREY[..., None], orientation=orientation, compression=compression)
        np.testing.assert_array_equal(load(path)[0, :, :, 0], expected)


def test_masks_and_deep_pictures_are_turned_too(tmp_path):
    mask, deep = blob((5, 7)), numbers("u2", 3)
    exif = Image.Exif()
    for orientation in range(1, 9):
        exif[ORIENTATION] = orientation
        turned = shown(oriented_file(tmp_path / "m.png", mask, orientation))
        found, _ = load_mask(str(tmp_path / "m.png"), "image", [255])
        np.testing.assert_array_equal(found[0] * 255, turned)
        places = np.arange(63, dtype=np.uint8).reshape(9, 7)
        expected = deep.reshape(63, 3)[
            shown(oriented_file(tmp_path / "p.png", places, orientation))
        ]
        png = write_deep_png(tmp_path / "d.png", deep, (b"eXIf", exif.tobytes()[6:]))
        np.testing.assert_array_equal(load(png)[0], expected)
        tif = write_tiff(tmp_path / "d.tif", deep, orientation=orientation)
        np.testing.assert_array_equal(load(tif)[0], expected)


def test_broken_exif_costs_nothing(tmp_path):
    path = write_png(tmp_path / "a.jpg", GREY, exif=b"Exif\0\0II*\0\xff\xff\xff\x7f")
    assert load(path).shape == (1, 5, 7, 1)
    odd = Image.Exif()
    odd[ORIENTATION] = 9
    assert load(write_png(tmp_path / "b.jpg", GREY, exif=odd.tobytes())).shape == (1, 5, 7, 1)


def test_a_jpeg_of_several_pictures_is_its_first(tmp_path):
    pages = [Image.fromarray(np.full((5, 7), value, np.uint8)) for value in (40, 200, 90)]
    pages[0].save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=pages[1:])
    found = load(tmp_path / "a.jpg")
    assert found.shape == (1, 5, 7, 1)
    assert np.abs(found.astype(int) - 40).max() < 3


def test_a_moving_png_is_refused_and_one_that_only_could_move_is_a_picture(tmp_path):
    pages = [Image.fromarray(GREY + i) for i in range(3)]
    pages[0].save(tmp_path / "a.png", save_all=True, append_images=pages[1:])
    assert refusal(tmp_path / "a.png") == "several_frames"
    still = write_png(tmp_path / "b.png", GREY).read_bytes()
    at = still.index(b"IDAT") - 4
    control = struct.pack(">IIIIIHHBB", 0, 7, 5, 0, 0, 1, 1, 0, 0)
    one_frame = png_chunk(b"acTL", struct.pack(">II", 1, 0)) + png_chunk(b"fcTL", control)
    (tmp_path / "b.png").write_bytes(still[:at] + one_frame + still[at:])
    np.testing.assert_array_equal(load(tmp_path / "b.png")[0, :, :, 0], GREY)


def test_pages_beside_the_slices_are_none(tmp_path):
    """Overviews at less resolution, as the tag NewSubfileType calls them."""
    wide = numbers("f8", 3)
    for name, pixels, options in (("grey", GREY, {}), ("wide", wide, {"photometric": "rgb"})):
        path = tmp_path / f"{name}.tif"
        with tifffile.TiffWriter(path) as writer:
            for kind, page in ((0, pixels), (1, pixels[::2, ::2]), (0, pixels + 1)):
                writer.write(page, subfiletype=kind, metadata=None, contiguous=False, **options)
        expected = np.stack([pixels, pixels + 1])
        np.testing.assert_allclose(load(path).squeeze(), expected, rtol=1e-6)


def test_a_compression_that_nobody_has_is_called_so(tmp_path):
    path = write_tiff(tmp_path / "a.tif", GREY[..., None])
    raw = path.read_bytes()
    for code in (50001, 34712, 34887):  # WebP, JPEG 2000, LERC
        old, new = (struct.pack("<HHII", 259, 3, 1, number) for number in (1, code))
        path.write_bytes(raw.replace(old, new))
        assert refusal(path) == "unsupported_image"


def test_decoders_print_nothing_of_a_damaged_picture(tmp_path, capfd, caplog):
    secret = NAME.encode()
    path = tmp_path / "a.tif"
    page = Image.fromarray(GREY)
    for compression in ("jpeg", "tiff_lzw", "tiff_deflate"):
        page.save(path, compression=compression)
        with tifffile.TiffFile(path) as file:
            start, length = file.pages[0].dataoffsets[0], file.pages[0].databytecounts[0]
        raw = bytearray(path.read_bytes())
        raw[start : start + length] = (secret * 99)[:length]
        path.write_bytes(raw)
        refusal(path)
    many = write_tiff(path, numbers("u1", 3)).read_bytes()
    path.write_bytes(many.replace(struct.pack("<HHII", 277, 3, 1, 3), b"\x15\1\3\0\1\0\0\0Qu\0\0"))
    refusal(path)
    with caplog.at_level(logging.DEBUG):
        refusal(path)
    assert "".join(capfd.readouterr()) == ""
    assert {record.name for record in caplog.records} <= {"fsspec.local"}


def test_a_deflated_bomb_in_a_wide_tiff_is_bounded(tmp_path):
    pixels = numbers("f8", 1)
    path = write_tiff(tmp_path / "a.tif", np.zeros((4000, 4000, 1)), compression=8)
    raw = path.read_bytes()
    small = np.array([9, 7], "<u4").tobytes()
    raw = raw.replace(struct.pack("<HHII", 256, 4, 1, 4000), b"\0\1\4\0\1\0\0\0" + small[4:])
    raw = raw.replace(struct.pack("<HHII", 257, 4, 1, 4000), b"\1\1\4\0\1\0\0\0" + small[:4])
    raw = raw.replace(struct.pack("<HHII", 278, 4, 1, 4000), b"\x16\1\4\0\1\0\0\0" + small[:4])
    path.write_bytes(raw)
    tracemalloc.start()
    try:
        assert load(path).shape == (1, *pixels.shape)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_pictures_of_eight_bits_are_what_pillow_makes_of_them(tmp_path):
    colour = np.stack([GREY, 255 - GREY, GREY // 2], axis=-1)
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"):
        for ending in ("png", "tif", "jpg"):
            made, file = Image.fromarray(colour).convert(mode), io.BytesIO()
            try:
                made.save(file, {"png": "PNG", "tif": "TIFF", "jpg": "JPEG"}[ending])
            except OSError:
                continue  # the format has no such mode
            (tmp_path / "a").write_bytes(file.getvalue())
            with Image.open(file) as opened:
                peer = np.asarray(opened.convert("L" if mode in ("1", "L", "LA") else "RGB"))
            np.testing.assert_array_equal(load(tmp_path / "a")[0].squeeze(), peer)
