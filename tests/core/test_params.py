"""Parameter values: types, ranges, layers, files."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jwcal.core.errors import UsageError
from jwcal.core.params import Layers, dump, known_only, read_pars, read_toml
from jwcal.core.step import Param, step


@step("demo", stage="test", takes="ramp", gives="ramp", params=[
    Param("threshold", float, 4.0, "Threshold.", unit="sigma", min=0, per={"MIRI": 5.0}),
    Param("count", int, 3, "Count.", max=10),
    Param("wide", bool, False, "Wide."),
    Param("method", str, "median", "Method.", choices=("median", "fit")),
    Param("limit", float, None, "Limit."),
])  # fmt: skip
def demo(tile, refs, p):
    """Do nothing."""


PARS = """#ASDF 1.0.0
#ASDF_STANDARD 1.5.0
%YAML 1.1
%TAG ! tag:stsci.edu:asdf/
--- !core/asdf-1.1.0
asdf_library: !core/software-1.0.0 {name: asdf}
class: jwst.demo.demo_step.DemoStep
meta: {instrument: {name: NIRCAM}}
name: DemoStep
parameters: {threshold: 7.5, wide: true, save_results: false, limit: none, power: 2}
...
"""


@pytest.mark.parametrize(
    ("name", "value", "want"),
    [
        ("threshold", "5", 5.0),
        ("count", "3.0", 3),
        ("wide", "yes", True),
        ("method", "fit", "fit"),
        ("limit", "none", None),
    ],
)
def test_values_get_their_type(name, value, want):
    got = demo.param(name).convert(value)
    assert got == want
    assert type(got) is type(want)


@pytest.mark.parametrize(
    ("name", "value"),
    [("threshold", "-1"), ("threshold", "nan"), ("threshold", "abc"), ("threshold", True), ("count", 2.5), ("count", 11),
     ("count", "inf"), ("wide", "perhaps"), ("method", "mean"), ("threshold", None)],
)  # fmt: skip
def test_values_that_do_not_fit_are_refused(name, value):
    with pytest.raises(UsageError, match=name):
        demo.param(name).convert(value)


@given(st.floats(0, 1e6), st.integers(-1000, 10), st.booleans(), st.sampled_from(["median", "fit"]))
def test_printed_parameters_can_be_fed_back(tmp_path_factory, threshold, count, wide, method):
    layers = Layers()
    layers.add("test", {"demo": {"threshold": threshold, "count": count, "wide": wide, "method": method}})
    values, origins = layers.resolve(demo)
    path = tmp_path_factory.mktemp("toml") / "p.toml"
    path.write_text(dump(demo, values, origins))
    again = Layers()
    again.add("file", read_toml(path))
    assert again.resolve(demo)[0] == values


def test_later_layers_win_and_origins_are_kept():
    layers = Layers()
    layers.add("site", {"demo": {"threshold": 1, "count": 1}})
    layers.add("command line", {"demo": {"threshold": 2}})
    values, origins = layers.resolve(demo, "MIRI")
    assert (values.threshold, values.count) == (2.0, 1)
    assert origins["threshold"] == "command line"
    assert origins["count"] == "site"
    assert origins["wide"] == "default"
    assert Layers().resolve(demo, "MIRI")[0].threshold == 5.0


def test_unknown_step_is_named():
    layers = Layers()
    layers.add("p.toml", {"dmo": {"threshold": 2}})
    with pytest.raises(UsageError, match="no step 'dmo'"):
        layers.check_steps(["demo"])


def test_official_parameter_file(tmp_path, caplog):
    path = tmp_path / "jwst_nircam_pars-demostep_0001.asdf"
    path.write_text(PARS)
    values = known_only(read_pars(path), [demo], path.name)
    assert values == {"demo": {"threshold": 7.5, "wide": True}}
    assert "power" in caplog.text
    assert "save_results" not in caplog.text


@pytest.mark.parametrize(
    "text", ["", "#ASDF 1.0.0\n--- {a: 1}\n...\n", "no yaml: [", "#ASDF\n--- {a: [}\n..."]
)
def test_bad_parameter_files_give_one_line(tmp_path, text):
    path = tmp_path / "bad.asdf"
    path.write_text(text)
    with pytest.raises(UsageError) as failure:
        read_pars(path)
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize("text", ["a = ", "threshold = 3", "\xff"])
def test_bad_toml_is_refused(tmp_path, text):
    path = tmp_path / "bad.toml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(UsageError, match=r"bad\.toml"):
        read_toml(path)
