"""Folders and description of a case on disk."""

import json

from jwcal.core.errors import OutputError


def make_folders(out, segments, references):
    """Make the folders of a case.

    Parameters
    ----------
    out : pathlib.Path
    segments : int
        Number of files the integrations are split into.
    references : bool
        Whether there are reference files.

    Raises
    ------
    OutputError
        If a folder cannot be made.
    """
    folders = [out]
    if references:
        folders.append(out / "refs")
    if segments > 1:
        folders += [out / f"seg{k + 1:03d}" for k in range(segments)]
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise OutputError(f"{folder}: cannot make the folder: {exc.strerror}") from None


def write_json(path, content):
    """Write a description of a case.

    Parameters
    ----------
    path : pathlib.Path
    content : dict

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    try:
        path.write_text(json.dumps(content, indent=1) + "\n")
    except OSError as exc:
        raise OutputError(f"{path}: cannot write: {exc.strerror}") from None
