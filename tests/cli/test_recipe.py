"""Recipes: named sets of parameters."""

import json

import numpy as np
import pytest

from jwcal.core.errors import UsageError
from jwcal.core.plan import definition, plan_items
from jwcal.core.recipe import INSTRUMENTS, names, read_recipe


def params(invoke, exposure, *options):
    """Text of the parameters of detector1 with some options."""
    done = invoke("run", "detector1", *exposure.args, "--print-params", *options)
    assert done.code == 0, done.err
    return done.out.decode()


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("instrument", INSTRUMENTS)
def test_every_recipe_fits_the_pipeline(name, instrument):
    branches = definition("detector1")["branch"]
    everywhere = {s for b in branches for s in b["steps"]}
    steps = {i.step.name: i.step for i in plan_items("detector1", instrument)}
    for step, values in read_recipe(name, instrument).items():
        assert step in everywhere
        for key, value in values.items():
            if step in steps:
                steps[step].param(key).convert(value)


def test_baseline_is_the_default(exposure, invoke):
    assert params(invoke, exposure, "--recipe", "baseline") == params(invoke, exposure)


def test_precedence(exposure, invoke, tmp_path):
    recipe, file = tmp_path / "mine.toml", tmp_path / "p.toml"
    recipe.write_text(
        "[jump]\nrejection_threshold = 3.5\nminimum_groups = 5\n[ramp_fit]\nlastgroup = 4\n"
        "[NIRCAM.jump]\nminimum_groups = 6\n[MIRI.jump]\nminimum_groups = 7\n"
    )
    file.write_text("[ramp_fit]\nlastgroup = 3\n")
    text = params(invoke, exposure, "--recipe", recipe, "-p", file, "--set", "jump.rejection_threshold=6")
    assert "\nrejection_threshold = 6.0  # sigma, command line" in text
    assert f"minimum_groups = 6  # recipe {recipe}" in text
    assert f"lastgroup = 3  # {file}" in text


def test_product_tells_and_can_be_made_again(exposure, invoke, jwcal, tmp_path):
    recipe, made = tmp_path / "mine.toml", tmp_path / "x_rate.fits"
    recipe.write_text("[jump]\nrejection_threshold = 3.5\n")
    args = ("run", "detector1", *exposure.args, "--recipe", recipe)
    assert invoke(*args, "-o", made).code == 0
    record = json.loads(invoke("history", made, "--as", "json").out)
    (jump,) = (s for s in record["steps"] if s["step"] == "jump")
    assert jump["params"]["rejection_threshold"] == {"value": 3.5, "origin": f"recipe {recipe}"}
    assert "--rejection-threshold 3.5" in invoke("history", made, "--as", "shell").out.decode()
    assert "--rejection-threshold 3.5" in invoke(*args, "--as", "shell").out.decode()


def test_from_python(exposure, tmp_path):
    import jwcal

    recipe = tmp_path / "mine.toml"
    recipe.write_text("[ramp_fit]\nlastgroup = 2\n")
    kwargs = {"refs": str(exposure.refs)}
    short = jwcal.run("detector1", str(exposure.uncal), recipe=str(recipe), **kwargs)["rate"]
    same = jwcal.run("detector1", str(exposure.uncal), params={"ramp_fit": {"lastgroup": 2}}, **kwargs)[
        "rate"
    ]
    assert np.array_equal(short["SCI"], same["SCI"], equal_nan=True)


def test_what_is_no_recipe(exposure, invoke, tmp_path):
    done = invoke("run", "detector1", *exposure.args, "--recipe", "best", "-o", tmp_path / "y.fits")
    assert done.code == 2
    assert "no recipe 'best' (known: baseline" in done.err
    path = tmp_path / "r.toml"
    path.write_text("[NIRCAM]\njump = 3\n")
    with pytest.raises(UsageError, match="needs tables by step"):
        read_recipe(str(path), "NIRCAM")
