"""Reference files in ASDF: their metadata are read without the package asdf, their trees with it."""

import builtins

import numpy as np
import pytest

from jwcal.core.asdf_file import AsdfFile, header, is_asdf
from jwcal.core.errors import InputError, UsageError
from jwcal.core.reference import ReferenceFile

HEAD = b"#ASDF 1.0.0\n#ASDF_STANDARD 1.5.0\n%YAML 1.1\n%TAG ! tag:stsci.edu:asdf/\n--- !core/asdf-1.1.0\n"
META = b"meta:\n  reftype: emicorr\n  useafter: !time/time-1.1.0 2024-01-01\n  instrument: {name: MIRI, band: 3}\n"


def write(path, *parts):
    path.write_bytes(b"".join(parts))
    return str(path)


def test_header_is_found_between_other_parts(tmp_path):
    path = write(tmp_path / "a.asdf", HEAD, b"before: [1, 2]\n", META, b"\nlong: [3]\n...\n\xd3BLK rest")
    assert header(path) == {"REFTYPE": "emicorr", "USEAFTER": "2024-01-01", "INSTRUME": "MIRI", "BAND": 3}


def test_a_tree_without_metadata_says_nothing(tmp_path):
    assert header(write(tmp_path / "a.asdf", HEAD, b"a: 1\n...\n")) == {}
    assert header(write(tmp_path / "b.asdf", HEAD, b"meta: 3\n...\n")) == {}
    assert header(write(tmp_path / "c.asdf", HEAD, b"meta:\n  reftype: {x: 1}\n...\n")) == {}


@pytest.mark.parametrize(
    "content", [b"", b"SIMPLE  =", b"#ASDF 1.0.0\nmeta:\n  a: [\n...\n", b"#ASDF 1\nmeta:\n  \xff\n...\n"]
)
def test_other_files_are_refused(tmp_path, content):
    with pytest.raises(InputError, match=r"a\.asdf"):
        header(write(tmp_path / "a.asdf", content))


def test_a_missing_file_is_no_asdf(tmp_path):
    assert not is_asdf(tmp_path / "none")
    with pytest.raises(InputError, match="No such file"):
        header(tmp_path / "none")


def test_tree_of_plain_values_and_arrays(tmp_path):
    asdf = pytest.importorskip("asdf")
    path = str(tmp_path / "a.asdf")
    asdf.AsdfFile({"meta": {"reftype": "x"}, "a": {"b": [1, 2.5]}, "c": np.arange(3.0)}).write_to(path)
    assert is_asdf(path)
    file = AsdfFile(path)
    assert file.tree["a"] == {"b": [1, 2.5]}
    assert file.tree["c"].tolist() == [0, 1, 2]
    assert "SCI" not in file
    assert ReferenceFile("x", path).tree()["a"]["b"] == [1, 2.5]


def test_without_the_package_one_line_says_so(tmp_path, monkeypatch):
    path = write(tmp_path / "a.asdf", HEAD, META, b"...\n")
    real = builtins.__import__

    def refuse(name, *rest, **more):
        if name == "asdf":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(UsageError, match=r"jwcal\[asdf\]"):
        _ = AsdfFile(path).tree
