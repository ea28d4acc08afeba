"""From groups to associations: validity, imprints, nods, catalogues, backgrounds of nods."""

from jwcal.associations.groups import Member
from jwcal.associations.names import escaped, product_name
from jwcal.associations.pool import EMPTY

GOOD = "No known degraded exposures in association."
DEGRADED = "One or more members have an error associated with them.\nDetails can be found in the member.exposerr attribute."
_SEVERAL = ("group", "background", "mosaic")
_NOD_TYPES = ("nrs_fixedslit", "nrs_msaspec")


class Association:
    """A finished association.

    Attributes
    ----------
    rule : Rule
        The rule that made it.
    origin : str
        "candidate" or "discover".
    candidate, kind : str
        Identifier and kind of the candidate, "a3001" and "discovered" if there was none.
    program, target : str
        As in the file.
    products : list of (str, list of Member)
        Names and members.
    sequence : int
        Running number among those of one candidate and type.
    version : str or None
        Stamp in the file name.
    degraded : bool
        An exposure of the group it comes from has an error, whether it stayed a member or not.
    """

    __slots__ = (
        "_shared", "candidate", "degraded", "kind", "origin", "products", "program", "rule", "sequence", "target", "version",
    )  # fmt: skip

    def __init__(self, group, origin, name, members, target):
        self.rule = group.rule
        self.origin = origin
        self.candidate = group.candidate
        self.kind = group.kind
        self.program = group.program
        self.target = target
        self.products = [(name, members)]
        self.sequence = 0
        self.degraded = False
        self.version = None
        self._shared = group.names, group.bound, group.noted

    @property
    def type(self):
        """Association type (str), such as "image3"."""
        return self.rule.type

    @property
    def name(self):
        """Name (str) of the first product."""
        return self.products[0][0]

    @property
    def members(self):
        """Members (list) of the first product."""
        return self.products[0][1]

    @property
    def common(self):
        """What the members have in common (str), one name and its values a line."""
        names, bound, noted = self._shared
        lines = []
        for name, slots in names.items():
            values = {bound[slot] for slot in slots if bound[slot] is not None}
            values.update(value for slot in slots for value in noted.get(slot, ()))
            if values:
                lines.append(f"{name}: {', '.join(sorted(values))}")
        return "\n".join(lines)


class Finisher:
    """Turns groups into associations.

    Parameters
    ----------
    maker : Maker
        Reads cells of rows.
    endings : Endings
        Takes endings off names.
    """

    def __init__(self, maker, endings):
        self.maker = maker
        self.endings = endings

    def finish(self, group, origin):
        """Associations (list of Association) that come of a group; none if it is not complete."""
        if self.missing(group) is not None:
            return []
        found = self._finish3(group, origin) if group.rule.level == 3 else self._finish2(group, origin)
        degraded = any(self.maker.value(member.row, "exposerr") not in EMPTY for member in group.members)
        for association in found:
            association.degraded = degraded
        return found

    def _finish2(self, group, origin):
        rule = group.rule
        sciences = group.of_role("science")
        name = self.endings.product(sciences[0].file)
        target = self.maker.value(group.members[0].row, "targetid")
        members = list(group.members)
        if "catalogue" in rule.finish:
            members = self._with_catalogue(group, members)
        if "imprints" in rule.finish:
            members = self._fitting_imprints(members)
        if "nods" in rule.finish:
            return [
                Association(group, origin, name, members, target) for name, members in self._nods(members)
            ]
        return [Association(group, origin, name, members, target)]

    def missing(self, group):
        """Say what a group lacks to be an association (str), or None."""
        rule = group.rule
        if not group.science:
            return "has no science exposure"
        if not rule.takes(group.kind):
            return f"candidates of kind {group.kind} make none"
        needs_background = rule.level == 2 and rule.candidates != "any" and group.kind == "background"
        if needs_background and not group.of_role("background"):
            return "has no background exposure"
        if "psf" in rule.needs and not group.of_role("psf"):
            return "has no exposure of a reference star"
        if "two members" in rule.needs and len(group.members) < 2:
            return "has one exposure of a pair"
        if "catalogue" in rule.finish and not group.of_role("direct_image"):
            return "has no direct image"
        several = rule.level == 3 and rule.several_observations and group.kind in _SEVERAL
        if several and len(group.values("obs_num")) <= 1:
            return "has exposures of one observation only"
        return None

    def _finish3(self, group, origin):
        rule = group.rule
        name = product_name(rule, group)
        members = list(group.members)
        if "nod spectra" in rule.finish:
            sciences = group.of_role("science")
            if len(sciences) > 1:
                members += [
                    Member(self.endings.stem(m.file) + "_x1d.fits", "background", m.row) for m in sciences
                ]
        target = group.common("target")
        return [Association(group, origin, name, members, f"t{escaped(target):0>3s}")]

    # -- imprints

    def _fitting_imprints(self, members):
        """Leave out imprints of other targets, and of other dither positions if there are too many."""
        sciences: list[Member] = []
        of_science: list[Member] = []
        of_background: list[Member] = []
        targets = set()
        background = False
        for member in members:
            target, flag = self.maker.value(member.row, "targetid"), self.maker.value(member.row, "bkgdtarg")
            if target is None or flag is None:
                continue
            if member.role == "science":
                sciences.append(member)
                targets.add(target)
                background = background or flag == "t"
            elif member.role == "imprint":
                (of_background if flag == "t" else of_science).append(member)
        imprints = of_background if background else of_science
        same = [member for member in imprints if self.maker.value(member.row, "targetid") in targets]
        dropped = set()
        if same:
            dropped = {id(member) for member in imprints if member not in same}
            imprints = same
        if 1 <= len(sciences) < len(imprints) and "dithptin" in self.maker.at:
            positions = {self.maker.value(member.row, "dithptin") for member in sciences}
            fitting = [m for m in imprints if self.maker.value(m.row, "dithptin") in positions]
            if fitting:
                dropped |= {id(member) for member in imprints if member not in fitting}
        return [member for member in members if id(member) not in dropped]

    # -- nods

    def _nods(self, members):
        sciences = [member for member in members if member.role == "science"]
        others = [member for member in members if member.role != "science"]
        places = [self._place(member.row) for member in sciences]
        for member, place in zip(sciences, places, strict=True):
            backgrounds = [
                Member(other.file, "background", other.row)
                for other, there in zip(sciences, places, strict=True)
                if other.file != member.file and not _overlap(place, there)
            ]
            yield self.endings.stem(member.file), [member, *backgrounds, *others]

    def _place(self, row):
        """Where in its dither pattern an exposure is: type, target, numbers, slit."""
        maker = self.maker
        numbers = maker.number(row, "numdthpt"), maker.number(row, "patt_num")
        subpixels = maker.number(row, "subpxpts", "subpxpns")
        kind = maker.value(row, "exp_type")
        return kind, maker.value(row, "targetid"), *numbers, subpixels, maker.value(row, "fxd_slit")

    # -- catalogues of slitless spectra

    def _with_catalogue(self, group, members):
        """Replace direct images by the combined image, its catalogue and its segmentation."""
        directs = group.of_role("direct_image")
        science = group.of_role("science")[0]
        if group.rule.closest == "long":
            nearest = next((m for m in directs if "long" in m.file), directs[0])
        else:
            nearest = self._next_in_time(science, directs)
        root = product_name(group.rule, group, self._optics_of(nearest.row))
        made = (("_i2d.fits", "direct_image"), ("_cat.ecsv", "sourcecat"), ("_segm.fits", "segmap"))
        kept = [member for member in members if member.role != "direct_image"]
        return kept + [Member(root + ending, role) for ending, role in made]

    def _next_in_time(self, science, directs):
        own = self._order(science.row)
        nearest, least = directs[0], 9999
        if own is not None:
            for direct in directs:
                order = self._order(direct.row)
                if order is not None and 0 < order - own < least:
                    nearest, least = direct, order - own
        return nearest

    def _order(self, row):
        return None if self.maker.given(row, "expspcin") is None else self.maker.number(row, "expspcin")

    def _optics_of(self, row):
        maker = self.maker
        if maker.value(row, "instrume") == "miri":
            parts = [maker.value(row, "filter")]
        else:
            parts = [maker.given(row, "filter", "band"), maker.given(row, "pupil", "grating")]
        return "-".join(sorted(part for part in parts if part)) or "clear"


def _overlap(science, other):
    """Whether light of one nod falls where the other's does, so that it is no background."""
    kind, target, dithers, position, subpixels, slit = science
    _, other_target, _, other_position, other_subpixels, _ = other
    if kind not in _NOD_TYPES:
        return False
    if target != other_target:
        return True
    if dithers is None or position is None or other_position is None:
        position = None
    if position is None or not subpixels or not other_subpixels:
        return kind == "nrs_fixedslit"
    here, there = (position - 1) // subpixels, (other_position - 1) // other_subpixels
    if here == there:
        return True
    return (
        kind == "nrs_fixedslit" and slit == "s1600a1" and dithers // subpixels == 5 and abs(here - there) <= 1
    )
