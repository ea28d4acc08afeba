"""Work with pools and associations: check, compare, make."""

import re
from collections import Counter
from pathlib import Path

from jwcal import __version__
from jwcal.associations.finish import GOOD
from jwcal.associations.output import violations
from jwcal.associations.pool import Pool
from jwcal.associations.roles import MEMBERS
from jwcal.core.errors import InputError, UsageError

_NEED = {"coron3": "psf", "ami3": "psf"}


# -- checks of files


def findings(data, path, folder=None):
    """Find what is wrong with an association.

    Parameters
    ----------
    data : dict
        Its content.
    path : str or Path
        Its file.
    folder : str or Path, optional
        Folder in which the members have to be.

    Yields
    ------
    str
    """
    yield from violations(data)
    name = Path(path).name
    told = re.fullmatch(r"jw(\d{5})-([a-z]\d{3,4})(?:_\w+?)?_([\w-]+?)_(\d{5,})_asn\.json", name)
    if told:
        for key, value in (("program", told[1]), ("asn_id", told[2])):
            if str(data.get(key, value)) != value:
                yield f"the file name says {key} {value}, the content {data[key]}"
        if not str(told[3]).endswith(str(data.get("asn_type", told[3]))):
            yield f"the file name says asn_type {told[3]}, the content {data['asn_type']}"
    names = Counter(product.get("name") for product in data.get("products", []))
    yield from (f"product {each} is there {count} times" for each, count in names.items() if count > 1)
    for product in data.get("products", []):
        yield from _product_findings(product, data.get("asn_type"), folder)


def _product_findings(product, kind, folder):
    label = f"product {product.get('name', '?')}"
    members = [m for m in product.get("members", []) if isinstance(m, dict) and "expname" in m]
    files = Counter(str(member["expname"]) for member in members)
    yield from (f"{label}: {each} is there {count} times" for each, count in files.items() if count > 1)
    roles = [str(member.get("exptype")) for member in members]
    if "science" not in roles:
        yield f"{label}: no science member"
    if kind in _NEED and _NEED[kind] not in roles:
        yield f"{label}: no {_NEED[kind]} member"
    for role in sorted(set(roles) - set(MEMBERS)):
        yield f"{label}: exptype {role} is not known"
    for file in files:
        if "/" in file:
            yield f"{label}: {file} has a folder in its name"
        if folder is not None and not (Path(folder) / file).exists():
            yield f"{label}: {file} is not there"


# -- comparison


def signature(data):
    """Reduce an association to what makes it the same as another, products with their members (tuple)."""
    products = sorted(
        (
            str(product.get("name")),
            tuple(sorted((str(m["expname"]), str(m["exptype"])) for m in product["members"])),
        )
        for product in data["products"]
    )
    return data.get("asn_type"), data.get("asn_rule"), data.get("asn_id"), tuple(products)


def differences(left, right, ignore=()):
    """Differences of two sets of associations; order and running numbers do not count.

    Parameters
    ----------
    left, right : dict of str to dict
        Associations by file.
    ignore : iterable of str
        "type", "rule", "id": parts that do not count either.

    Yields
    ------
    str
        Lines with "-" for what only the left has, "+" for what only the right has.
    """
    keep = [part not in ignore for part in ("type", "rule", "id")] + [True]

    def signs(side):
        out: dict[tuple, list] = {}
        for path, data in side.items():
            whole = signature(data)
            out.setdefault(tuple(p for p, k in zip(whole, keep, strict=True) if k), []).append(path)
        return out

    one, two = signs(left), signs(right)
    for mark, here, there in (("-", one, two), ("+", two, one)):
        for sign, paths in here.items():
            extra = len(paths) - len(there.get(sign, ()))
            for path in sorted(paths)[: max(extra, 0)]:
                yield f"{mark} {path}"
                if not there.get(sign):
                    yield from _nearest(sign[-1], there, mark)


def _nearest(products, others, mark):
    """Members that differ from the product of the same name on the other side."""
    by_name = {name: set(members) for sign in others for name, members in sign[-1]}
    for name, members in products:
        if name in by_name:
            for file, role in sorted(set(members) - by_name[name]):
                yield f"    {mark} {file} ({role}) in {name}"


# -- making


def from_list(files, *, level=3, product=None, kind=None, rule=None, candidate="o999", program="noprogram"):
    """Association of files.

    Parameters
    ----------
    files : list of str
        Members; "NAME:ROLE" gives a role, science otherwise.
    level : int
        3: one product of all; 2: one product for every science file.
    product : str, optional
        Name of the product; needed for level 3.
    kind, rule, candidate, program : str
        As in the file.

    Returns
    -------
    dict

    Raises
    ------
    UsageError
        If a name or a role is missing.
    """
    from jwcal.associations.names import Endings
    from jwcal.associations.rules import load_rules

    entries = [_entry(file) for file in files]
    if level == 3:
        if not product:
            raise UsageError("an association of level 3 needs --product-name")
        products = [{"name": product, "members": entries}]
    else:
        endings = Endings(load_rules().tables["names"]["endings"])
        sciences = [entry for entry in entries if entry["exptype"] == "science"]
        others = [entry for entry in entries if entry["exptype"] != "science"]
        products = [{"name": endings.stem(e["expname"]), "members": [e, *others]} for e in sciences]
    if not any(entry["exptype"] == "science" for entry in entries):
        raise UsageError("no science file among the members")
    return {
        "asn_type": kind or ("image3" if level == 3 else "image2"),
        "asn_rule": rule or ("DMS_Level3_Base" if level == 3 else "DMSLevel2bBase"),
        "version_id": None,
        "code_version": __version__,
        "degraded_status": GOOD,
        "program": program,
        "constraints": "No constraints",
        "asn_id": candidate,
        "asn_pool": "none",
        "target": "none",
        "products": products,
    }


def _entry(given):
    name, mark, role = given.rpartition(":")
    if not mark or "/" in role:
        name, role = given, "science"
    if role not in MEMBERS:
        raise UsageError(f"{given}: role {role} is none of {', '.join(MEMBERS)}")
    return {"expname": name, "exptype": role}


def make_pool(files, *, candidates="", dms_note="", is_imprt="f", pntgtype="science"):
    """Pool of files, from the keywords of their primary headers.

    Parameters
    ----------
    files : iterable of str or Path
        FITS files.
    candidates : str
        More candidates of all exposures, such as "[('c1000', 'background')]".
    dms_note, is_imprt, pntgtype : str
        Cells that headers do not have.

    Returns
    -------
    Pool

    Raises
    ------
    InputError
        If a file has no header, or no observation number.
    UsageError
        If `candidates` is not a list of pairs.
    """
    more = _candidates(candidates)
    fixed = {
        "dms_note": dms_note or "null",
        "is_imprt": is_imprt,
        "pntgtype": pntgtype,
        "mostilno": "1",
        "dithptin": "1",
    }
    rows: list[dict[str, str]] = []
    targets: dict[str, int] = {}
    columns = dict.fromkeys(("filename", "asn_candidate", "targetid", *fixed))
    for file in files:
        cells = _cells(file)
        if "observtn" not in cells:
            raise InputError(f"{file}: no keyword OBSERVTN: not an exposure")
        target = cells.get("targname") or cells.get("targprop", "")
        cells.update(fixed)
        cells["filename"] = Path(file).name.lower()
        cells["obs_num"] = cells["observtn"]
        cells["asn_candidate"] = str([(f"o{cells['observtn']}", "observation"), *more])
        cells["targetid"] = str(targets.setdefault(target, len(targets) + 1))
        rows.append(cells)
        columns.update(dict.fromkeys(cells))
    names = sorted(columns)
    return Pool(names, [tuple([cells.get(name) or "null" for name in names]) for cells in rows])


def _candidates(text):
    import ast

    if not text:
        return []
    try:
        return [(str(name).lower(), str(kind).lower()) for name, kind in ast.literal_eval(text)]
    except (ValueError, SyntaxError, TypeError) as exc:
        raise UsageError(f"--asn-candidate {text!r}: not a list of pairs (identifier, kind)") from exc


_CARD = re.compile(rb"([A-Z0-9_-]{1,8}) *= +(?:'((?:[^']|'')*)'|([^/ ]+))")


def _cells(path):
    """Lower-case keywords and values (dict) of a primary header, read no further than its end."""
    cells: dict[str, str] = {}
    try:
        with open(path, "rb") as file:
            block = file.read(2880)
            if not block.startswith(b"SIMPLE  ="):
                raise InputError(f"{path}: not FITS")
            while True:
                for start in range(0, 2880, 80):
                    card = block[start : start + 80]
                    if card[:8] == b"END     ":
                        return cells
                    found = _CARD.match(card)
                    if found:
                        name = found[1].decode().lower()
                        value = (found[2] if found[2] is not None else found[3]).decode("ascii", "replace")
                        value = value.replace("''", "'").strip().lower()
                        cells[name] = "f" if value == "f" else value
                block = file.read(2880)
                if len(block) < 2880:
                    raise InputError(f"{path}: header ends early")
    except OSError as exc:
        raise InputError(f"{path}: cannot be read: {exc.strerror}") from exc
