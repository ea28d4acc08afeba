"""Association files: official JSON, and reading it back."""

import json
import sys
from pathlib import Path

from jwcal import __version__
from jwcal.associations.finish import DEGRADED, GOOD
from jwcal.associations.names import file_name
from jwcal.core.errors import InputError, OutputError
from jwcal.core.whole import write_whole


def content(association, generator):
    """Make what the file of an association holds.

    Parameters
    ----------
    association : Association
        The association.
    generator : Generator
        What made it.

    Returns
    -------
    dict
        Keys and order of the official files.
    """
    maker = generator.maker
    products = []
    for name, members in association.products:
        listed = []
        for member in members:
            entry = {"expname": member.file, "exptype": member.role}
            if member.row is not None:
                entry["exposerr"] = maker.value(member.row, "exposerr")
                if association.rule.level == 3:
                    entry["asn_candidate"] = maker.value(member.row, "asn_candidate")
            listed.append(entry)
        products.append({"name": name, "members": listed})
    target, pool = {"target": association.target}, {"asn_pool": generator.pool.name}
    return {
        "asn_type": association.type,
        "asn_rule": f"{association.origin}_{association.rule.rule}",
        "version_id": association.version,
        "code_version": __version__,
        "degraded_status": DEGRADED if association.degraded else GOOD,
        "program": association.program,
        "constraints": association.common,
        "asn_id": association.candidate,
        **(pool | target if association.rule.level == 2 else target | pool),
        "products": products,
    }


def text(association, generator):
    """Text (str) of the file of an association."""
    return json.dumps(content(association, generator), indent=4, separators=(",", ": "))


def save(associations, generator, folder, overwrite=False):
    """Write one file an association.

    Parameters
    ----------
    associations : list of Association
        What to write.
    generator : Generator
        What made them.
    folder : str or Path
        Where; made if it is not there.
    overwrite : bool
        Replace existing files.

    Returns
    -------
    list of Path

    Raises
    ------
    OutputError
        If a file is there already, which is noticed before the first is written, or cannot be written.
    """
    folder = Path(folder)
    paths = [folder / file_name(association) for association in associations]
    if not overwrite:
        there = next((path for path in paths if path.exists()), None)
        if there is not None:
            raise OutputError(f"{there}: exists; use --overwrite or another folder")
    make_folder(folder)
    for path, association in zip(paths, associations, strict=True):
        write_whole(path, text(association, generator).encode(), overwrite)
    return paths


def make_folder(path):
    """Make a folder (str or Path) and those above it, or end with an OutputError."""
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise OutputError(f"{path}: cannot be made: {exc.strerror}") from exc


def emit(content_text, path, overwrite=False):
    """Write text to a file, or to standard output for "-".

    Parameters
    ----------
    content_text : str
        The text.
    path : str or Path
        Where.
    overwrite : bool
        Replace an existing file.

    Raises
    ------
    OutputError
        If the file is there already or cannot be written.
    """
    if str(path) == "-":
        sys.stdout.write(content_text)
        return
    write_whole(path, content_text.encode(), overwrite)


def read_association(path):
    """Read an association file.

    Parameters
    ----------
    path : str or Path
        JSON file.

    Returns
    -------
    dict

    Raises
    ------
    InputError
        If it cannot be read or has no products with members.
    """
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as exc:
        raise InputError(f"{path}: cannot be read: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise InputError(f"{path}: byte {exc.start}: not UTF-8") from exc
    except json.JSONDecodeError as exc:
        raise InputError(f"{path}: line {exc.lineno}, column {exc.colno}: not JSON: {exc.msg}") from exc
    problem = next(violations(data), None)
    if problem:
        raise InputError(f"{path}: not an association: {problem}")
    return data


def violations(data):
    """Yield what in an association goes against the official schemas (str)."""
    if not isinstance(data, dict):
        yield "not a JSON object"
        return
    for key in ("asn_type", "asn_rule", "asn_pool", "program", "asn_id", "target"):
        if key in data and not isinstance(data[key], str):
            yield f"{key} is not text"
    if not isinstance(data.get("version_id"), str | None):
        yield "version_id is neither text nor null"
    if not isinstance(data.get("products"), list):
        yield "no list of products"
        return
    for number, product in enumerate(data["products"], 1):
        if not isinstance(product, dict) or not isinstance(product.get("members"), list):
            yield f"product {number}: no list of members"
            continue
        if not isinstance(product.get("name", ""), str):
            yield f"product {number}: name is not text"
        for place, member in enumerate(product["members"], 1):
            for key in ("expname", "exptype"):
                if not isinstance(member, dict) or not isinstance(member.get(key), str):
                    yield f"product {number}, member {place}: {key} is missing or not text"
