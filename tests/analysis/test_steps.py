"""jwcal steps: the declarations as text and JSON; broken plug-ins are shown with their reason."""

import json

import pytest

from jwcal.analysis import steps
from jwcal.cli.index import STEPS
from jwcal.core import pipeline, registry
from jwcal.core.registry import find_step

USER_STEP = '''"""Raise the signal."""
from jwcal.core.step import Param, Ref, step


@step("brighten", stage="detector1", takes="ramp", gives="ramp", changes=("SCI",), instruments=("MIRI",),
      refs=[Ref("gain", planes={"SCI": "f4"}, missing="error")], default_skip=True,
      params=[Param("factor", float, 2.0, "Factor.", unit="DN", min=0, max=9, per={"MIRI": 3.0}),
              Param("mode", str, "a", "Mode.", choices=("a", "b"))])
def brighten(tile, refs, p):
    """Multiply the signal."""
'''


@pytest.fixture
def user_step(tmp_path):
    path = tmp_path / "brighten.py"
    path.write_text(USER_STEP)
    return f"{path}:brighten"


def test_list(invoke):
    for args in (("steps",), ("steps", "list")):
        text = invoke(*args).out.decode()
        assert all(f"  {name} " in text for name in STEPS)
        assert all(f"  {name}  " in text for name in pipeline.names())
    facts = json.loads(invoke("steps", "list", "--json").out)
    assert [s["command"] for s in facts["steps"]] == list(STEPS)
    assert [p["name"] for p in facts["pipelines"]] == pipeline.names()


@pytest.mark.parametrize("name", sorted(STEPS))
def test_show_every_step(invoke, name):
    facts = json.loads(invoke("steps", "show", name, "--json").out)
    step = find_step(name)[0]
    assert facts["command"] == name
    assert [p["name"] for p in facts["parameters"]] == [p.name for p in step.params]
    assert [r["kind"] for r in facts["references"]] == [r.kind for r in step.refs]
    text = invoke("steps", "show", name).out.decode()
    assert invoke("steps", name).out.decode() == text
    for p in step.params:
        assert f"--{p.option}" in text
    for r in step.refs:
        assert f"--ref-{r.kind}" in text


@pytest.mark.parametrize("name", pipeline.names())
def test_show_pipeline(invoke, name):
    facts = json.loads(invoke("steps", "show", name, "--json").out)
    assert facts["kind"] == "pipeline"
    assert facts["branches"]
    text = invoke("steps", "show", name).out.decode()
    assert all(
        s.replace("_", "-") in text for b in facts["branches"] for s in b["steps"] if isinstance(s, str)
    )


def test_show_a_step_of_a_file(invoke, user_step):
    text = invoke("steps", "show", user_step).out.decode()
    assert "Multiply the signal." in text
    assert "MIRI; off unless asked for" in text
    assert "[float, DN, 0..9, default 2.0, MIRI 3.0]" in text
    assert "[str, a | b, default a]" in text
    assert "required; SCI (R_GAIN)" in text
    assert "sha256:" in text


def test_unknown(invoke):
    done = invoke("steps", "show", "frobnicate")
    assert done.code == 2
    assert "frobnicate" in done.err
    assert done.err.count("\n") == 1
    assert invoke("steps", "frobnicate").code == 2
    assert invoke("steps", "show").code == 2
    assert invoke("steps", "show", "none.toml").code == 2


def test_plug_ins(monkeypatch):
    class Entry:
        def __init__(self, name, load):
            self.name, self.value, self.load = name, f"lab.{name}:{name}", load
            self.dist = type("Dist", (), {"name": "lab", "version": "1.0"})

    def broken():
        raise ImportError("no module named 'labtools'")

    entries = [
        Entry("good-step", lambda: find_step("superbias")[0]),
        Entry("bad-step", broken),
        Entry("odd", int),
    ]
    monkeypatch.setattr(registry, "plugins", lambda: entries)
    found = {p["name"]: p for p in steps.listing()["plugins"]}
    assert found["good-step"]["broken"] is None
    assert "labtools" in found["bad-step"]["broken"]
    assert "not a step" in found["odd"]["broken"]
    text = steps.render_listing(steps.listing())
    assert "BROKEN" in text
    assert "good-step" in text
