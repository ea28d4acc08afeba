"""What an exposure is to an association: science, background, imprint, psf, acquisition and so on."""

from jwcal.associations.pool import EMPTY

# Roles of members ("exptype" in files).
MEMBERS = (
    "science", "background", "psf", "imprint", "sourcecat", "segmap", "direct_image", "target_acquisition", "selfcal",
    "autoflat", "autowave", "dark", "flat", "engineering",
)  # fmt: skip
CHECKS = ("nrs_fixed_slit_path", "nrs_ifu_path", "nrs_lamp_path", "nrc_coron_detector", "nis_soss_filter")
_DECISIVE = ("detector", "filter", "grating", "fxd_slit", "opmode", "lamp", "subarray", "pupil")


class Roles:
    """Roles and properties that rows have by themselves.

    Parameters
    ----------
    tables : dict
        Tables of `rules/tables.toml`.
    at : dict of str to int
        Position of each column in a row.
    """

    def __init__(self, tables, at):
        self._types = tables["role_of_exposure_type"]
        self._flags = [(role, at[column]) for role, column in tables["role_of_flag"].items() if column in at]
        self._lists = {name: frozenset(members) for name, members in tables["exposure_types"].items()}
        self._paths = {name: {tuple(row) for row in rows} for name, rows in tables["optical_paths"].items()}
        self._uncalibrated = frozenset(tables["uncalibrated_filters"]["nis_soss"])
        self._shadowed = {
            pupil: frozenset(detectors) for pupil, detectors in tables["coronagraph_without_source"].items()
        }
        self._at = at
        self._pointing = at["pntgtype"]
        self._type = at["exp_type"]
        self._base: dict[tuple, str] = {}
        self._columns = (self._pointing, self._type, *(column for _, column in self._flags))
        # Every column a decision on a row alone can rest on.
        self.columns = tuple(at[c] for c in _DECISIVE if c in at) + self._columns
        self.checks = {
            "nrs_fixed_slit_path": self._fixed_slit_path,
            "nrs_ifu_path": self._ifu_path,
            "nrs_lamp_path": self._lamp_path,
            "nrc_coron_detector": self._coron_detector,
            "nis_soss_filter": self._soss_filter,
        }

    # -- roles

    def base(self, row):
        """Role of an exposure by its own keywords (str)."""
        key = tuple([row[column] for column in self._columns])
        found = self._base.get(key)
        if found is None:
            found = self._base[key] = self._find(row)
        return found

    def _find(self, row):
        pointing, kind = row[self._pointing], row[self._type]
        if pointing not in EMPTY and pointing != "science":
            return pointing
        role = self._types.get(kind, "science")
        if role != "science":
            return role
        for name, column in self._flags:
            if row[column] not in EMPTY:
                return name
        return "science"

    def fixed(self, rule):
        """Whether the role under a rule does not depend on the group (bool)."""
        return rule.roles in ("level2", "level3", "direct", "science")

    def of(self, rule):
        """Get the function of a row and a group that gives the role under a rule."""
        return getattr(self, f"_{rule.roles}")

    def _level3(self, row, group):
        return self.base(row)

    def _science(self, row, group):
        role = self.base(row)
        return role if role == "target_acquisition" else "science"

    def _level2(self, row, group):
        role = self.base(row)
        return "science" if role == "psf" else role

    def _direct(self, row, group):
        role = self._level2(row, group)
        return "direct_image" if role == "science" and row[self._type] in self._lists["direct"] else role

    def _special(self, row, group):
        role = group.last_role = self._level2(row, group)
        return "imprint" if role == "imprint" and group.science else "science"

    def _nod(self, row, group):
        role = self._level2(row, group)
        return "background" if role == "science" and group.flagged else role

    # -- properties

    def _value(self, row, column):
        at = self._at.get(column)
        return None if at is None or row[at] in EMPTY else row[at]

    def _fixed_slit_path(self, row):
        slit = self._value(row, "fxd_slit")
        rest = tuple(self._value(row, name) for name in ("grating", "filter", "detector"))
        if slit is None or None in rest:
            return False
        return ("s200b1" if slit == "s200b1" else "a", *rest) in self._paths["nrs_fixedslit"]

    def _ifu_path(self, row):
        if row[self._type] != "nrs_ifu":
            return True
        return tuple(self._value(row, n) for n in ("grating", "filter", "detector")) in self._paths["nrs_ifu"]

    def _lamp_path(self, row):
        detector, grating = self._value(row, "detector"), self._value(row, "grating")
        mode, lamp = self._value(row, "opmode"), self._value(row, "lamp")
        if None in (detector, grating, mode):
            return False
        if mode == "msaspec":
            return True
        if lamp is None:
            return False
        if mode == "ifu":
            path = (grating, detector)
            return path in self._paths["nrs_lamp_ifu"] and not (path == ("g140h", "nrs2") and lamp == "flat4")
        return mode == "fixedslit" and (grating, lamp, detector) in self._paths["nrs_lamp_fixedslit"]

    def _coron_detector(self, row):
        detector, subarray, pupil = (self._value(row, n) for n in ("detector", "subarray", "pupil"))
        if None in (detector, subarray, pupil):
            return False
        return subarray != "full" or detector not in self._shadowed.get(pupil, ())

    def _soss_filter(self, row):
        if row[self._type] != "nis_soss":
            return True
        name = self._value(row, "filter")
        return name is not None and name not in self._uncalibrated

    def acquisition(self, row):
        """Whether the exposure locates the target (bool)."""
        return row[self._type] in self._lists["acquisition"]

    def has_cal(self, row):
        """Whether level-2 products of the exposure are calibrated ones (bool)."""
        return row[self._type] in self._lists["calibrated"]

    def keeps_integrations(self, row, as_series, coronagraph=True):
        """Whether products of an exposure keep their integrations apart.

        Parameters
        ----------
        row : tuple of str
            The exposure.
        as_series : bool
            The association is one of time series.
        coronagraph : bool
            Coronagraphic exposures keep them.

        Returns
        -------
        bool
        """
        if row[self._pointing] != "science" or self.acquisition(row):
            return False
        kind = row[self._type]
        if as_series or self._value(row, "tsovisit") == "t" or kind in self._lists["time_series"]:
            return True
        if kind == "nis_ami":
            return True
        if not coronagraph or kind not in self._lists["coronagraph"]:
            return False
        if kind == "nrc_coron" and self._cell(row, "subarray") == "full":
            return self._cell(row, "detector") not in self._shadowed.get(self._cell(row, "pupil"), ())
        return True

    def _cell(self, row, column):
        at = self._at.get(column)
        return None if at is None else row[at]
