"""Names of members, products and files of associations."""

import re
from pathlib import PurePosixPath

_RAW = re.compile(r"(?P<path>.+)_uncal(?P<extension>\..+)")


class Endings:
    """Takes endings such as ``_rate`` off names.

    Parameters
    ----------
    endings : list of str
        Known endings, without the separator.
    """

    def __init__(self, endings):
        known = "|".join(re.escape(ending) for ending in endings)
        self._known = re.compile(f"^(.+?)(?:[_-](?:{known}))?$", re.DOTALL)
        self._stems: dict[str, str] = {}

    def strip(self, name):
        """Name (str) without its last ending, if that is a known one."""
        found = self._known.match(name)
        return found.group(1) if found else name

    def stem(self, path):
        """Exposure name (str) of a file: no folders, no extension, no ending."""
        found = self._stems.get(path)
        if found is None:
            found = self._stems[path] = self.strip(PurePosixPath(path).stem)
        return found

    def product(self, path):
        """Product name (str) for a member's file, which keeps its folder."""
        path = PurePosixPath(path)
        return self.strip(str(path.parent / path.stem))


def member_file(raw, ending):
    """File name of the product of an exposure.

    Parameters
    ----------
    raw : str
        Name of the raw file; a name without ``_uncal`` is returned as it is.
    ending : str
        Such as "rate" or "calints".

    Returns
    -------
    str
    """
    if raw.endswith("_uncal.fits") and raw.find("_uncal.") == len(raw) - 11 and len(raw) > 11:
        return f"{raw[:-11]}_{ending}.fits"
    match = _RAW.match(raw)
    return raw if match is None else f"{match['path']}_{ending}{match['extension']}"


def product_name(rule, group, optics=None):
    """Name of the product of a level-3 association.

    Parameters
    ----------
    rule : Rule
        Its `name` says which parts the name has.
    group : Group
        What its members have in common.
    optics : str, optional
        Optical elements, if not those of the group.

    Returns
    -------
    str
    """
    start = f"jw{group.program}-{group.candidate}"
    instrument = escaped(group.common("instrument"))
    target = f"t{escaped(group.common('target')):0>3s}"
    optics = group_optics(group) if optics is None else optics
    subarray = escaped(group.common("subarray"))
    subarray = f"-{subarray}" if subarray and subarray != "full" else ""
    slits = _slits(group)
    slit = f"-{slits}" if slits else ""
    scheme = rule.name
    if scheme == "no optics":
        name = f"{start}_{target}_{instrument}"
    elif scheme == "sources":
        name = f"{start}_{{source_id}}_{instrument}_{optics}{slit}{subarray}"
    elif scheme == "slits":
        name = f"{start}_{target}-{{source_id}}_{instrument}_{optics}-{{slit_name}}{subarray}"
    elif scheme == "coronagraphic image":
        name = f"{start}_{target}_{instrument}_{optics}{subarray}-image3"
    else:
        name = f"{start}_{target}_{instrument}_{optics}{slit}{subarray}"
        if scheme == "pair":
            activity = escaped(group.common("act_id"))
            name = f"{name}-{escaped(group.common('detector'))}_{{suffix}}-{activity:0>2s}"
    return name.lower()


def group_optics(group):
    """Optical elements of a group as part of a name (str); "clear" if there are none."""
    parts = [escaped(value) for value in (group.common("opt_elem"), group.common("opt_elem2")) if value]
    return "-".join(sorted(parts)) or "clear"


def _slits(group):
    parts = []
    for name in ("fxd_slit", "fxd_slit2"):
        value = "-".join(sorted(escaped(each) for each in group.values(name)))
        if value and value not in parts:
            parts.append(value)
    return "-".join(sorted(parts))


def escaped(value):
    """Write a value (str) as official names have it: punctuation that patterns know gets a backslash."""
    return re.escape(value) if value else ""


def file_name(association):
    """Official name (str) of the file of an association, without folder."""
    stamp = f"_{association.version}" if association.version else ""
    name = f"jw{association.program}-{association.candidate}{stamp}_{association.type}_{association.sequence:05d}_asn"
    return name.lower() + ".json"
