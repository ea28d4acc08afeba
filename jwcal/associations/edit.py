"""Change associations and move them with their files."""

import copy
import shutil
from pathlib import Path

from jwcal.associations.roles import MEMBERS
from jwcal.core.errors import InputError, OutputError, UsageError


def add(data, files, role="science", product=None):
    """Add members to the products of an association.

    Parameters
    ----------
    data : dict
        Association; not changed.
    files : list of str
        Their files; folders are left out.
    role : str
        Role of all of them.
    product : str, optional
        Only to the product of this name.

    Returns
    -------
    dict

    Raises
    ------
    UsageError
        If the role is not known, no product has the name, or a file is a member already.
    """
    if role not in MEMBERS:
        raise UsageError(f"role {role} is none of {', '.join(MEMBERS)}")
    out = copy.deepcopy(data)
    for each in _products(out, product):
        there = {member["expname"] for member in each["members"]}
        for file in files:
            name = Path(file).name
            if name in there:
                raise UsageError(f"{name} is a member of product {each.get('name')} already")
            there.add(name)
            each["members"].append({"expname": name, "exptype": role})
    return out


def remove(data, files, product=None, endings=None):
    """Take members out of the products of an association; products without members go too.

    Parameters
    ----------
    data : dict
        Association; not changed.
    files : list of str
        Their files; folders are left out.
    product : str, optional
        Only from the product of this name.
    endings : Endings, optional
        Compare without endings such as ``_cal``.

    Returns
    -------
    dict

    Raises
    ------
    UsageError
        If a file is no member, or no member would be left.
    """
    key = (lambda name: endings.stem(Path(name).name)) if endings else (lambda name: Path(name).name)
    gone = {key(file): file for file in files}
    out = copy.deepcopy(data)
    found: set[str] = set()
    for each in _products(out, product):
        found.update(key(member["expname"]) for member in each["members"])
        each["members"] = [member for member in each["members"] if key(member["expname"]) not in gone]
    for name, file in gone.items():
        if name not in found:
            raise UsageError(f"{file} is no member")
    out["products"] = [each for each in out["products"] if each["members"]]
    if not out["products"]:
        raise UsageError("no member would be left")
    return out


def split(data):
    """Make one association (list of dict) of every product."""
    return [{**copy.deepcopy(data), "products": [copy.deepcopy(each)]} for each in data["products"]]


def join(associations):
    """Make one association of several of one type.

    Parameters
    ----------
    associations : list of dict
        The first gives everything but the products.

    Returns
    -------
    dict

    Raises
    ------
    UsageError
        If their types differ, or two products have the same name.
    """
    kinds = {each.get("asn_type") for each in associations}
    if len(kinds) > 1:
        raise UsageError(f"types differ: {', '.join(sorted(map(str, kinds)))}")
    out = copy.deepcopy(associations[0])
    out["products"] = [copy.deepcopy(product) for each in associations for product in each["products"]]
    names = [product.get("name") for product in out["products"]]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise UsageError(f"product {min(map(str, twice))} is in more than one")
    return out


def _products(data, name):
    found = [each for each in data["products"] if name is None or each.get("name") == name]
    if not found:
        raise UsageError(f"no product {name}")
    return found


def gather(data, source, target, *, link=False, roles=None, without=()):
    """Bring the members of an association into a folder.

    Parameters
    ----------
    data : dict
        Association.
    source, target : Path
        Folders.
    link : bool
        Link instead of copying.
    roles : tuple of str, optional
        Only these roles.
    without : tuple of str
        Not these roles.

    Returns
    -------
    dict
        The association of what was brought, members without folders.

    Raises
    ------
    InputError
        If a member is not there, or none is left; nothing is brought then.
    OutputError
        If a file cannot be written.
    """
    out = copy.deepcopy(data)
    for product in out["products"]:
        product["members"] = [
            member
            for member in product["members"]
            if (not roles or member["exptype"] in roles) and member["exptype"] not in without
        ]
    out["products"] = [product for product in out["products"] if product["members"]]
    members = [member for product in out["products"] for member in product["members"]]
    if not members:
        raise InputError("no member has one of the roles asked for")
    paths = {member["expname"]: source / member["expname"] for member in members}
    absent = [str(path) for path in paths.values() if not path.exists()]
    if absent:
        raise InputError(f"{absent[0]}: is not there ({len(absent)} of {len(paths)} members are missing)")
    try:
        target.mkdir(parents=True, exist_ok=True)
        for path in paths.values():
            _bring(path, target / path.name, link)
    except OSError as exc:
        raise OutputError(f"{exc.filename or target}: cannot be written: {exc.strerror}") from exc
    for member in members:
        member["expname"] = Path(member["expname"]).name
    return out


def _bring(path, place, link):
    if place.exists() and place.samefile(path):
        return
    partial = place.with_name(f".{place.name}.tmp")
    partial.unlink(missing_ok=True)
    if link:
        partial.symlink_to(path.resolve())
    else:
        shutil.copy2(path, partial)
    partial.replace(place)
