"""Files that come with the package, found without the machinery of archives."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def text_of(folder, name):
    """Text of a file of the package.

    Parameters
    ----------
    folder : str
        Folder in the package: "data" or "pipelines".
    name : str
        File name.

    Returns
    -------
    str
    """
    return (ROOT / folder / name).read_text(encoding="utf-8")


def names_in(folder, suffix):
    """Sorted names, without the suffix, of the files of a folder that end in it."""
    return sorted(path.name.removesuffix(suffix) for path in (ROOT / folder).glob(f"*{suffix}"))
