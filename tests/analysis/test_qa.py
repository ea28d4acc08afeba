"""The command that judges products."""

import json

import numpy as np
import pytest


@pytest.fixture
def rate(exposure, invoke, tmp_path):
    """A slope image on disk."""
    path = tmp_path / "x_rate.fits"
    assert invoke("run", "detector1", *exposure.args, "-o", path).code == 0
    return path


def metrics(done):
    """Metrics of the first file of an answer in JSON."""
    found = json.loads(done.out.splitlines()[0])
    return found, {m["metric"]: m for m in found["metrics"]}


def limits(path, text):
    path.write_text(text)
    return "--limits", path


def test_text_and_exit_codes(rate, invoke, tmp_path):
    wide = "".join(
        f"[{m}]\nwarn = [-inf, inf]\nfail = [-inf, inf]\n" for m in metrics(invoke("qa", rate, "--json"))[1]
    )
    done = invoke("qa", rate, *limits(tmp_path / "wide.toml", wide), "--strict")
    assert done.code == 0
    assert done.out.decode().startswith(f"{rate}: ok\n")
    assert invoke("qa", rate, *limits(tmp_path / "wide.toml", wide), "--quiet").out == b""
    narrow = wide.replace("[jump_det]\nwarn = [-inf, inf]", "[jump_det]\nwarn = [0.9, 1.0]")
    assert invoke("qa", rate, *limits(tmp_path / "n.toml", narrow)).code == 0
    assert invoke("qa", rate, *limits(tmp_path / "n.toml", narrow), "--strict").code == 1
    failing = narrow.replace("warn = [0.9, 1.0]\nfail = [-inf, inf]", "fail = [0.9, 1.0]")
    done = invoke("qa", rate, *limits(tmp_path / "f.toml", failing))
    assert done.code == 1
    assert b": fail\n" in done.out


def test_product_without_the_table_is_measured(rate, invoke, tmp_path):
    from astropy.io import fits

    _, carried = metrics(invoke("qa", rate, "--json"))
    bare = tmp_path / "bare_rate.fits"
    with fits.open(rate) as hdus:
        del hdus["QUALITY"]
        hdus[0].header["NEXTEND"] -= 1
        hdus.writeto(bare)
    _, found = metrics(invoke("qa", bare, "--json"))
    assert found == carried
    with fits.open(bare, mode="update") as hdus:
        hdus["SCI"].data[:] = np.nan
    found, by_name = metrics(invoke("qa", bare, "--json"))
    assert by_name["nan_not_flagged"]["state"] == "fail"
    assert found["state"] == "fail"


def test_page(rate, invoke, tmp_path):
    page = tmp_path / "page.html"
    done = invoke("qa", rate, "--html", page)
    assert done.code in (0, 1)
    text = page.read_text()
    assert text.count("data:image/png;base64,") == 3
    assert "noise_ratio" in text
    assert rate.name in text
    assert "http" not in text
    again = invoke("qa", rate, "--html", page)
    assert again.code == 5
    assert "--overwrite" in again.err
    assert invoke("qa", rate, "--html", page, "--overwrite").code == done.code


def test_page_of_many_begins_with_the_worst(rate, invoke, tmp_path):
    names = metrics(invoke("qa", rate, "--json"))[1]
    wide = "".join(
        f"[{m}]\nfail = [-inf, inf]\n" + "warn = [-inf, inf]\n" * (m != "noise_ratio") for m in names
    )
    rules = limits(tmp_path / "l.toml", wide.replace("[noise_ratio]", "[noise_ratio]\nwarn = [100, 200]"))
    invoke("qa", rate, "--html", tmp_path / "one.html")
    assert "href" not in (tmp_path / "one.html").read_text()
    done = invoke("qa", rate, tmp_path / "none.fits", "--html", tmp_path / "p.html", *rules)
    assert done.code == 3
    text = (tmp_path / "p.html").read_text()
    table = text[text.index("<table>") : text.index("</table>")]
    failed, warned = table.index('href="#product1"'), table.index('href="#product0"')
    assert failed < warned
    assert "no such file" in table[failed:warned]
    assert "noise_ratio" in table[warned:]
    assert "(100 to 200)" in table[warned:]
    assert 'id="product0"' in text
    assert 'id="product1"' in text


def test_files_that_cannot_be_judged(rate, exposure, invoke, tmp_path):
    done = invoke("qa", exposure.uncal)
    assert done.code == 3
    assert "no quality table" in done.err
    done = invoke("qa", rate, tmp_path / "none.fits", "--html", tmp_path / "p.html")
    assert done.code == 3
    assert "none.fits" in done.err
    assert str(rate) in done.out.decode()
    assert "none.fits" in (tmp_path / "p.html").read_text()


@pytest.mark.parametrize(
    ("text", "words"),
    [("[frob]\nwarn = [0, 1]\n", "no metric 'frob'"), ("[hot]\nwarn = 3\n", "[hot] needs"), ("[hot", "not a file"),
     ("[hot]\nwarn = [2, 1]\n", "[hot] needs")],
)  # fmt: skip
def test_limits_that_are_none(text, words, rate, invoke, tmp_path):
    done = invoke("qa", rate, *limits(tmp_path / "l.toml", text))
    assert done.code == 2
    assert words in done.err
