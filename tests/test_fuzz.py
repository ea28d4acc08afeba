"""Mutated headers and bytes: never a traceback, a hang, or a success without a valid product."""

from __future__ import annotations

import os
import random
import re

import numpy as np
import pytest

from jwcal.core.errors import EXIT_CODES

CARDS = (
    "SIMPLE", "BITPIX", "NAXIS", "NAXIS1", "NAXIS3", "NAXIS4", "EXTEND", "XTENSION", "PCOUNT", "GCOUNT", "BZERO",
    "BSCALE", "EXTNAME", "TFORM1", "TFIELDS", "TTYPE2", "INSTRUME", "DETECTOR", "EXP_TYPE", "READPATT", "SUBARRAY",
    "SUBSTRT1", "SUBSTRT2", "SUBSIZE1", "SUBSIZE2", "FASTAXIS", "SLOWAXIS", "NINTS", "NGROUPS", "NFRAMES",
    "FRMDIVSR", "GROUPGAP", "TGROUP", "TFRAME", "INTSTART", "INTEND", "NOUTPUTS", "DATAMODL", "EFFINTTM", "END",
)  # fmt: skip
VALUES = (
    "0", "-1", "1", "2", "7", "-7", "16", "32", "-32", "64", "999", "999999999999", "-2147483649", "1E400", "1.5",
    "NaN", "T", "F", "''", "'x'", "'NIRCAM'", "'MIRI'", "'IMAGE'", "'BINTABLE'", "'SCI'", "'unclosed", "''''", "",
    "(1.0, 2.0)", "/ only a comment", "\x00\x01", "\xff\xfe",
)  # fmt: skip
# More of them now and then: JWCAL_FUZZ=2000 pytest tests/test_fuzz.py
MUTANTS = int(os.environ.get("JWCAL_FUZZ", "50"))
COMMANDS = (("run", "detector1"), ("dq-init",))


def card_offsets(data, key):
    """Byte offsets of the cards of a keyword that lie on the 80-column grid."""
    head = key.encode().ljust(8)
    return [m.start() for m in re.finditer(re.escape(head), data) if m.start() % 80 == 0]


def set_card(data, rng):
    """Give a keyword another value, or take the card away."""
    places = card_offsets(bytes(data), rng.choice(CARDS))
    if places:
        at = rng.choice(places)
        value = rng.choice(VALUES)
        key = bytes(data[at : at + 8])
        card = key + b"= " + value.encode("latin-1").rjust(20)
        data[at : at + 80] = card.ljust(80)[:80] if rng.random() < 0.85 else b" " * 80


def flip_bytes(data, rng):
    """Change bytes, mostly in headers."""
    limit = len(data) if rng.random() < 0.3 else min(len(data), 2880 * 4)
    for _ in range(rng.choice((1, 3, 20))):
        data[rng.randrange(limit)] = rng.randrange(256)


def cut(data, rng):
    """End the file early, on a block boundary or off it."""
    end = rng.randrange(len(data))
    del data[end - end % 2880 if rng.random() < 0.5 else end :]


def insert(data, rng):
    """Put bytes in, which shifts all that follows."""
    at = rng.randrange(len(data))
    data[at:at] = bytes(rng.randrange(256) for _ in range(rng.choice((1, 80, 2880))))


def drop_block(data, rng):
    """Leave blocks out."""
    at = 2880 * rng.randrange(max(1, len(data) // 2880))
    del data[at : at + 2880 * rng.choice((1, 1, 5))]


def nonsense(data, rng):
    """Bytes that are no FITS file at all."""
    data[:] = bytes(rng.randrange(256) for _ in range(rng.choice((0, 1, 79, 2880, 9000))))


MUTATIONS = (
    set_card,
    set_card,
    set_card,
    set_card,
    flip_bytes,
    flip_bytes,
    cut,
    insert,
    drop_block,
    nonsense,
)


def mutate(original, seed):
    """A mutant of a file's bytes; the same for the same seed."""
    rng = random.Random(seed)
    data = bytearray(original)
    for _ in range(rng.choice((1, 1, 2, 4))):
        if data:
            rng.choice(MUTATIONS)(data, rng)
    return bytes(data)


def check(result, outputs, source, before):
    """What must hold whatever the input was."""
    told = f"exit code {result.code}: {result.err}"
    assert "Traceback" not in result.err, told
    assert "internal error" not in result.err, told
    assert result.code in set(EXIT_CODES) - {1}, told
    assert source.read_bytes() == before
    if result.code == 0:
        for path in outputs:
            valid_product(path)
    else:
        lines = result.err.strip().splitlines()
        assert lines, told
        assert lines[-1].startswith("jwcal"), told
        left = set(os.listdir(outputs[0].parent)) - {source.name}
        assert not left, f"{told}; left behind: {left}"
    for path in outputs:
        path.unlink(missing_ok=True)


def valid_product(path):
    """Open a product with another reader and look at its planes.

    Extensions that jwcal passes on untouched may be as damaged as they came; they follow the planes.
    """
    from astropy.io import fits

    with fits.open(path, memmap=False) as hdus:
        planes = {}
        for hdu in hdus[1:5]:
            planes[hdu.name] = hdu.data
            flags = planes.get("DQ", planes.get("PIXELDQ"))
            if "SCI" in planes and flags is not None:
                break
        science = planes["SCI"]
        assert all(science.shape)
        if flags is None:
            # Nothing could be done, so the raw data pass as they came.
            assert science.dtype == "uint16"
            return
        assert science.dtype.kind == "f"
        assert flags.shape[-2:] == science.shape[-2:]
        if "ERR" in planes:
            assert not (planes["ERR"][(flags & 1) == 0] < 0).any()


def arguments(command, source, refs, folder):
    """Command line and output paths."""
    out = [folder / "y_rate.fits"]
    args = [*command, source, "--refs", refs, "-o", out[0], "-q"]
    if command[0] == "run":
        out.append(folder / "y_rateints.fits")
        args += ["--rateints", out[1]]
    return args, out


@pytest.mark.parametrize("command", COMMANDS, ids=[c[0] for c in COMMANDS])
@pytest.mark.parametrize("block", range(8))
@pytest.mark.filterwarnings("ignore")
@pytest.mark.timeout(120 + MUTANTS)
def test_mutated_exposure(command, block, exposure, invoke, tmp_path):
    original = exposure.uncal.read_bytes()
    source = tmp_path / "m_uncal.fits"
    for seed in range(block * MUTANTS, (block + 1) * MUTANTS):
        mutant = mutate(original, seed)
        source.write_bytes(mutant)
        args, out = arguments(command, source, exposure.refs, tmp_path)
        try:
            check(invoke(*args), out, source, mutant)
        except AssertionError as failed:
            raise AssertionError(f"seed {seed}: {failed}") from failed


@pytest.mark.parametrize(
    "kind", ["mask", "saturation", "superbias", "linearity", "dark", "gain", "readnoise"]
)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.timeout(120 + MUTANTS)
def test_mutated_reference(kind, exposure, invoke, tmp_path):
    folder = tmp_path / "refs"
    folder.mkdir()
    for path in exposure.refs.iterdir():
        (folder / path.name).symlink_to(path)
    reference = folder / f"{kind}.fits"
    original = reference.read_bytes()
    work = tmp_path / "work"
    work.mkdir()
    source = work / "x_uncal.fits"
    source.write_bytes(exposure.uncal.read_bytes())
    for seed in range(MUTANTS // 2):
        reference.unlink(missing_ok=True)
        reference.write_bytes(mutate(original, seed))
        args, out = arguments(("run", "detector1"), source, folder, work)
        try:
            check(invoke(*args), out, source, source.read_bytes())
        except AssertionError as failed:
            raise AssertionError(f"seed {seed}: {failed}") from failed


@pytest.mark.parametrize("seed", range(5))
def test_mutant_through_a_pipe(seed, exposure, jwcal):
    done = jwcal(
        "dq-init", "--refs", exposure.refs, stdin=mutate(exposure.uncal.read_bytes(), 5000 + seed), timeout=60
    )
    assert "Traceback" not in done.err
    assert done.code in set(EXIT_CODES) - {1}
    if done.code:
        assert done.err.count("\n") >= 1
        assert done.out == b"", "part of a product was sent although the command failed"
    else:
        assert done.out[:6] == b"SIMPLE"


def test_mutations_reach_all_outcomes(exposure):
    original = exposure.uncal.read_bytes()
    mutants = [mutate(original, seed) for seed in range(320)]
    assert sum(m == original for m in mutants) < 100
    assert len({len(m) for m in mutants}) > 20
    assert np.unique([m[:2880] for m in mutants]).size > 100
