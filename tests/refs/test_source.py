"""Steps and pipelines choose by the rules of a context, and say so in their products."""

import json

import pytest
from astropy.io import fits

from jwcal.core.errors import ReferenceFileError, UsageError
from jwcal.refs.mapping import Mapping, Selector
from jwcal.refs.select import ReferenceSource
from jwcal.refs.source import ContextSource, make_source
from tests.refs.conftest import DETECTOR, WHEN, MadeCache, dated, rmap


@pytest.fixture
def filled(exposure, tmp_path, monkeypatch):
    """Cache whose rules choose the references of the small exposure."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    for name in ("CRDS_PATH", "CRDS_CONTEXT"):
        monkeypatch.delenv(name, raising=False)
    made = MadeCache(tmp_path / "cache")
    rules = []
    folder = made.root / "references" / "jwst" / "nircam"
    folder.mkdir(parents=True)
    for path in sorted(exposure.refs.glob("*.fits")):
        kind = fits.getheader(path)["REFTYPE"].strip().lower()
        name = f"jwst_nircam_{kind}_0001.fits"
        (folder / name).symlink_to(path)
        rules.append(rmap(kind, ((DETECTOR,), WHEN), Selector("Match", {("NRCA1",): dated(d2014=name)})))
    made.context(*rules)
    return made


def reference_keywords(path):
    return {k: v for k, v in fits.getheader(path).items() if k.startswith("R_")}


def test_pipeline_gives_the_same_as_with_named_files(filled, exposure, invoke, tmp_path):
    one, two = tmp_path / "one.fits", tmp_path / "two.fits"
    done = invoke(
        "run", "detector1", exposure.uncal, "-o", one, "--crds", filled.root, "--context", "jwst_0001.pmap"
    )
    assert done.code == 0, done.err
    assert invoke("run", "detector1", *exposure.args, "-o", two).code == 0
    with fits.open(one) as a, fits.open(two) as b:
        assert (a["SCI"].data.tobytes(), a["DQ"].data.tobytes()) == (
            b["SCI"].data.tobytes(),
            b["DQ"].data.tobytes(),
        )
        header = a[0].header
        row = a["PROVENANCE"].data[0]
    assert header["CRDS_CTX"] == "jwst_0001.pmap"
    assert header["CRDS_VER"].startswith("jwcal ")
    assert header["R_DARK"] == "crds://jwst_nircam_dark_0001.fits"
    params = json.loads(row["PARAMS"])
    assert (row["STEP"], params["context"]) == ("references", ["jwst_0001.pmap", "--context"])
    assert len(params["rules_sha256"][0]) == 64
    assert set(json.loads(row["REFS"])) == {"pmap", "imap"}
    assert not reference_keywords(two)["R_DARK"].startswith("crds://")


def test_environment_pointer_and_pipes_note_the_context_once(filled, exposure, jwcal):
    env = {"CRDS_PATH": str(filled.root), "CRDS_CONTEXT": "jwst_0001.pmap"}
    first = jwcal("dq-init", exposure.uncal, "--refs", "crds", env=env)
    assert first.code == 0, first.err
    second = jwcal("saturation", "--refs", "crds", stdin=first.out, env=env)
    assert second.code == 0, second.err
    with fits.open(__import__("io").BytesIO(second.out)) as hdus:
        assert list(hdus["PROVENANCE"].data["STEP"]) == ["references", "dq_init", "saturation"]
        assert hdus[0].header["R_SATURA"] == "crds://jwst_nircam_saturation_0001.fits"


def test_named_files_and_directories_come_first(filled, exposure):
    meta = {"INSTRUME": "NIRCAM", "DETECTOR": "NRCA1", "DATE-OBS": "2024-03-01", "TIME-OBS": "00:00:00"}
    source = make_source({"gain": "N/A"}, str(exposure.refs), str(filled.root), "jwst_0001.pmap")
    assert source.find("gain", meta) == (None, "N/A given")
    assert source.find("dark", {**meta, "SUBARRAY": "FULL"})[0] is not None
    alone = ContextSource(None, None, str(filled.root), "jwst_0001.pmap")
    path, why = alone.find("dark", meta)
    assert path.endswith("cache/references/jwst/nircam/jwst_nircam_dark_0001.fits")
    assert why == "jwst_0001.pmap: DETECTOR=NRCA1 from 2014-01-01 00:00:00"
    assert alone.find("dark", {**meta, "DETECTOR": "NRCB1"}) == (
        None, "jwst_0001.pmap: META.INSTRUMENT.DETECTOR is NRCB1, the rules know NRCA1",
    )  # fmt: skip
    assert alone.find("nothing", meta)[0] is None
    assert type(make_source(None, None)) is ReferenceSource


def test_parameter_files_of_steps_and_pipeline(filled, exposure):
    from types import SimpleNamespace as Step

    folder = filled.root / "references" / "jwst"
    kinds = ("pars-jumpstep", "pars-detector1pipeline", "pars-rampfitstep")
    rules = []
    for kind in kinds:
        (folder / f"{kind}.asdf").write_text("#ASDF 1.0.0\n")
        rules.append(rmap(kind, (("META.EXPOSURE.TYPE",),), Selector("Match", {"NRC_IMAGE": f"{kind}.asdf"})))
    filled.context(*rules, serial=2)
    source = ContextSource(None, None, str(filled.root), "jwst_0002.pmap")
    steps = [Step(name="jump", stage="detector1"), Step(name="ramp_fit", stage="detector1")]
    meta = {"INSTRUME": "NIRCAM", "EXP_TYPE": "NRC_IMAGE"}
    names = [path.rsplit("/", 1)[1] for path in source.find_pars(steps, meta)]
    assert names == ["pars-jumpstep.asdf", "pars-rampfitstep.asdf", "pars-detector1pipeline.asdf"]
    assert len(source.find_pars(steps[:1], meta)) == 1
    assert source.find_pars(steps, {**meta, "EXP_TYPE": "NRC_DARK"}) == []


def test_reference_that_the_cache_lacks_or_calls_bad(filled, exposure, invoke, tmp_path):
    (filled.root / "references" / "jwst" / "nircam" / "jwst_nircam_mask_0001.fits").unlink()
    arguments = ("-o", tmp_path / "o.fits", "--crds", filled.root, "--context", "jwst_0001.pmap")
    found = invoke("dq-init", exposure.uncal, *arguments)
    assert found.code == 4
    assert "jwst_nircam_mask_0001.fits: chosen by jwst_0001.pmap, but not in the cache" in found.err
    config = filled.root / "config" / "jwst"
    config.mkdir(parents=True)
    (config / "server_config").write_text("{'bad_files_list': ['jwst_nircam_saturation_0001.fits']}")
    found = invoke("saturation", exposure.uncal, *arguments)
    assert found.code == 4
    assert "declared invalid" in found.err
    assert not (tmp_path / "o.fits").exists()


def test_no_context_and_unknown_instrument(filled, exposure, invoke, tmp_path):
    with pytest.raises(UsageError, match="no operational context"):
        ContextSource(None, None, str(filled.root))
    pmap = Mapping(
        {"mapping": "PIPELINE", "name": "jwst_0005.pmap", "observatory": "JWST", "derived_from": "x",
         "parkey": ("META.INSTRUMENT.NAME",), "sha1sum": ""},
        {"MIRI": "N/A"},
    )  # fmt: skip
    filled.write(pmap)
    found = invoke(
        "dq-init",
        exposure.uncal,
        "-o",
        tmp_path / "o.fits",
        "--crds",
        filled.root,
        "--context",
        "jwst_0005.pmap",
    )
    assert found.code == 3
    assert "instrument NIRCAM: jwst_0005.pmap knows MIRI" in found.err


def test_damaged_rules_stop_a_run(filled, exposure, invoke, tmp_path):
    path = filled.mappings / "jwst_nircam_dark_0001.rmap"
    path.write_text(path.read_text().replace("2014", "2015"))
    found = invoke("run", "detector1", exposure.uncal, "-o", tmp_path / "o.fits", "--crds", filled.root, "--context",
                   "jwst_0001.pmap")  # fmt: skip
    assert (found.code, found.err.count("\n")) == (4, 1)
    assert "jwst_nircam_dark_0001.rmap: wrong checksum" in found.err


def test_from_python(filled, exposure, monkeypatch):
    from jwcal.core.exposure import open_exposure
    from jwcal.detector1.dq_init import dq_init

    monkeypatch.setenv("CRDS_PATH", str(filled.root))
    monkeypatch.setenv("CRDS_CONTEXT", "jwst_0001.pmap")
    result = dq_init(open_exposure(str(exposure.uncal)), refs="crds")
    assert result.meta["CRDS_CTX"] == "jwst_0001.pmap"


def test_a_missing_rule_skips_the_step_or_is_an_error(filled, exposure, invoke, tmp_path):
    made = rmap("mask", ((DETECTOR,), WHEN), Selector("Match", {("NRCB1",): dated(d2014="x.fits")}), serial=3)
    filled.context(made, serial=3)
    arguments = (
        "dq-init",
        exposure.uncal,
        "-o",
        tmp_path / "o.fits",
        "--crds",
        filled.root,
        "--context",
        "jwst_0003.pmap",
    )
    found = invoke(*arguments, "--strict")
    assert found.code == 4
    assert "the rules know NRCB1" in found.err
    assert invoke(*arguments).code == 0
    assert fits.getheader(tmp_path / "o.fits")["S_DQINIT"] == "SKIPPED"


def test_rules_that_choose_several_files(filled):
    made = rmap(
        "mask", (("META.EXPOSURE.NGROUPS",),), Selector("Bracket", {1: "a.fits", 9: "b.fits"}), serial=4
    )
    filled.context(made, serial=4)
    source = ContextSource(None, None, str(filled.root), "jwst_0004.pmap")
    with pytest.raises(ReferenceFileError, match="chooses several files"):
        source.find("mask", {"INSTRUME": "NIRCAM", "NGROUPS": 5})
