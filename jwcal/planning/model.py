"""Program, observation, visit and exposure, as the prediction sees them.

The parts of a file name, jwPPPPPOOOVVV_GGSAA_EEEEE_DETECTOR_uncal.fits, are: program, observation, visit,
visit group, parallel sequence (1 prime, 2 to 5 parallel), activity (base 36), exposure, detector.
Source: JWST User Documentation, "JWST File Naming Conventions and Data Products".
"""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Problem:
    """What could not be predicted.

    Attributes
    ----------
    observation : int
        Number of the observation; 0 for the whole program.
    text : str
        One sentence that says what is missing and why.
    """

    observation: int
    text: str


@dataclass(slots=True)
class Target:
    """A target of the program.

    Attributes
    ----------
    number : int
        Number in the program, from 1; 0 for no target (internal exposures).
    name : str
        Name that the proposer gave (TARGPROP).
    ident : str
        Identifier that observations refer to: number and name.
    archive_name : str
        Name in the archive (TARGNAME), "" if not given.
    kind : {"fixed", "moving", "generic", "internal"}
        TARGTYPE, in lower case.
    ra, dec : float or None
        Degrees, ICRS; None for moving and generic targets.
    extended : str
        "YES", "NO" or "UNKNOWN".
    backgrounds : tuple of int
        Numbers of the targets named as its background.
    background_required : bool
        The proposer asks for a background observation.
    """

    number: int
    name: str
    ident: str = ""
    archive_name: str = ""
    kind: str = "fixed"
    ra: float | None = None
    dec: float | None = None
    extended: str = "UNKNOWN"
    backgrounds: tuple[int, ...] = ()
    background_required: bool = False


@dataclass(slots=True)
class Detector:
    """One detector of an exposure: one raw file.

    Attributes
    ----------
    name : str
        DETECTOR, upper case ("NRCA1", "NRCALONG", "MIRIFUSHORT", "NIS", "GUIDER1").
    filter, pupil, grating : str
        Elements in front of this detector, "" where the instrument has none.
    channel : str
        "SHORT" or "LONG" (NIRCam), "12" or "34" (MIRI MRS), "" otherwise.
    module : str
        "A" or "B" (NIRCam), "" otherwise.
    band : str
        "SHORT", "MEDIUM", "LONG" and their crosses (MIRI MRS), "" otherwise.
    rows, columns : int
        Size of the frame read.
    exp_type : str
        EXP_TYPE of this detector where it is not the one of the exposure, "" otherwise.
    aperture : str
        SIAF aperture of this detector and subarray, "" if not known.
    readpatt : str
        READPATT of this detector where it is not the one of the exposure (MIRI MRS), "" otherwise.
    ngroups, nints : int
        Groups and integrations of this detector where they are not those of the exposure, 0 otherwise.
    """

    name: str
    filter: str = ""
    pupil: str = ""
    grating: str = ""
    channel: str = ""
    module: str = ""
    band: str = ""
    rows: int = 2048
    columns: int = 2048
    exp_type: str = ""
    aperture: str = ""
    readpatt: str = ""
    ngroups: int = 0
    nints: int = 0


@dataclass(slots=True)
class Dither:
    """Place of an exposure in its dither pattern.

    Attributes
    ----------
    pattern : str
        PATTTYPE as in the template, "NONE" without a pattern.
    points : int
        NUMDTHPT: points of the whole pattern, primary times subpixel (1 without a pattern).
    point : int
        PATT_NUM: running number of this point, from 1.
    primary_points, primary : int
        Number of primary points and the one of this exposure, from 1.
    subpixel_pattern : str
        SUBPIXEL as in the template, "NONE" without.
    subpixel_points, subpixel : int
        Number of subpixel points (SUBPXPTS) and the one of this exposure, from 1.
    size : str
        PATTSIZE ("SMALL", "LARGE", ...), "" if the pattern has none.
    start : int
        PATTSTRT: number of the first point.
    nod_type : str
        NOD_TYPE of NIRSpec ("2-POINT-NOD", "4-POINT-DITHER", ...), "" otherwise.
    nod_spacing : str
        Spacing as in the template, "" if there is none.
    """

    pattern: str = "NONE"
    points: int = 1
    point: int = 1
    primary_points: int = 1
    primary: int = 1
    subpixel_pattern: str = "NONE"
    subpixel_points: int = 1
    subpixel: int = 1
    size: str = ""
    start: int = 1
    nod_type: str = ""
    nod_spacing: str = ""


@dataclass(slots=True)
class Exposure:
    """One exposure of one instrument.

    Attributes
    ----------
    instrument : str
        NIRCAM, NIRISS, MIRI, NIRSPEC or FGS.
    exp_type : str
        EXP_TYPE, upper case.
    template : str
        Template that makes this exposure (local name of its element in the program file).
    detectors : tuple of Detector
        One raw file for each.
    subarray : str
        SUBARRAY.
    readpatt : str
        READPATT.
    ngroups, nints : int
        Groups of an integration, integrations.
    config : int
        Which configuration of the observation, from 1: the column "Exp" of APT's pointing report.
    target : int
        Number of the target; 0 for none.
    tile : int
        Tile of the mosaic, from 1.
    dither : Dither
        Place in the dither pattern.
    group, sequence, activity : str
        GG (2), S (1) and AA (2 characters) of the file name.
    number : int
        EEEEE of the file name, from 1.
    parallel : str
        "" for the prime instrument, "coordinated" or "pure" for parallels.
    order : int
        Running number in the visit over all instruments; the exposures of coordinated parallels that
        are taken at the same time have the same one.  Set by the expansion.
    offset : (float, float) or None
        Where a pointing report has the telescope (arcsec in the Ideal frame of the aperture of the prime
        instrument), None without one.
    fxd_slit, lamp, opmode, coronmsk : str
        Keywords of the same name; "" where they do not apply.
    msa_config : str
        Name of the MSA configuration of a NIRSpec MOS exposure, "" otherwise.
    is_psf, is_imprint, bkgdtarg, tso, moving, acquisition, direct : bool
        Reference star, imprint (leakage) exposure, background target, time series, moving target,
        target acquisition or its confirmation, direct image of a grism exposure.
    sure : str
        "" for an exposure and a file name that follow from the program alone; otherwise the reason why
        the exposure or its name is an estimate.
    """

    instrument: str
    exp_type: str
    template: str
    detectors: tuple[Detector, ...]
    subarray: str
    readpatt: str
    ngroups: int
    nints: int
    config: int = 1
    target: int = 0
    tile: int = 1
    dither: Dither = field(default_factory=Dither)
    group: str = "02"
    sequence: str = "1"
    activity: str = "01"
    number: int = 1
    parallel: str = ""
    order: int = 0
    offset: tuple[float, float] | None = None
    fxd_slit: str = ""
    lamp: str = ""
    opmode: str = ""
    coronmsk: str = ""
    msa_config: str = ""
    is_psf: bool = False
    is_imprint: bool = False
    bkgdtarg: bool = False
    tso: bool = False
    moving: bool = False
    acquisition: bool = False
    direct: bool = False
    sure: str = ""

    def type_of(self, detector):
        """EXP_TYPE (str) of the file of one of the detectors."""
        return detector.exp_type or self.exp_type

    def readout_of(self, detector):
        """READPATT (str), groups and integrations (int) of the file of one of the detectors."""
        return (
            detector.readpatt or self.readpatt,
            detector.ngroups or self.ngroups,
            detector.nints or self.nints,
        )


@dataclass(slots=True)
class Visit:
    """A visit: what is executed with one set of guide stars.

    Attributes
    ----------
    number : int
        Number in the observation, from 1.
    tiles : tuple of int
        Tiles of the mosaic that it holds.
    exposures : list of Exposure
        In the order of execution.
    """

    number: int
    tiles: tuple[int, ...] = (1,)
    exposures: list[Exposure] = field(default_factory=list)


@dataclass(slots=True)
class Mosaic:
    """Mosaic of an observation.

    Attributes
    ----------
    rows, columns : int
        Size of the grid.
    included : tuple of int
        Numbers of the tiles that are observed, from 1, in their order.
    """

    rows: int = 1
    columns: int = 1
    included: tuple[int, ...] = (1,)


@dataclass(slots=True)
class Observation:
    """An observation of the program.

    Attributes
    ----------
    number : int
        Number in the program.
    label : str
        Label that the proposer gave.
    instrument : str
        Prime instrument, upper case.
    template : str
        Local name of the element of the template ("NircamImaging").
    target : int
        Number of the target; 0 for none.
    element : xml.etree.ElementTree.Element
        The observation as read, with local names (no namespaces).
    backgrounds : tuple of int
        Numbers of the observations that are its background.
    psf_references : tuple of int
        Numbers of the observations of reference stars for this one.
    is_psf : bool
        This observation is of a reference star.
    is_background : bool
        This observation is the background of another one.
    mosaic : Mosaic
        Tiles.
    parallel_set : str
        Name of the set of coordinated parallels, "" for none.
    requirements : dict
        Special requirements: local name of the element to its text or attributes.
    links : list of tuple
        Observation links of the program that name it: (kind, numbers of observations).
    skipped : str
        Why it makes no exposures ("" for an observation that will be taken): on hold, skipped, withdrawn.
    on_hold : str
        Reason given for a hold, "" without: such an observation is predicted all the same.
    visit_numbers : tuple of int
        Numbers of the visits that the file lists; APT has split the observation before.
    visit_status : dict
        Status that the file gives to a visit ("IMPLEMENTATION", "WITHDRAWN", ...), by its number.
    visits : list of Visit
        Filled by the expansion.
    """

    number: int
    label: str
    instrument: str
    template: str
    target: int
    element: object
    backgrounds: tuple[int, ...] = ()
    psf_references: tuple[int, ...] = ()
    is_psf: bool = False
    is_background: bool = False
    mosaic: Mosaic = field(default_factory=Mosaic)
    parallel_set: str = ""
    requirements: dict[str, str] = field(default_factory=dict)
    links: list[tuple[str, tuple[int, ...]]] = field(default_factory=list)
    skipped: str = ""
    on_hold: str = ""
    visit_numbers: tuple[int, ...] = ()
    visit_status: dict[int, str] = field(default_factory=dict)
    visits: list[Visit] = field(default_factory=list)


@dataclass(slots=True)
class Program:
    """An observing program.

    Attributes
    ----------
    number : str
        Five digits.
    title, pi, category, apt_version, prd : str
        As in the file, "" if not given.
    cycle : int
        Cycle; 0 for commissioning or if not given.
    targets : dict
        Target by its number.
    observations : list of Observation
        In the order of the file.
    problems : list of Problem
        What was not understood or cannot be predicted.
    path : str
        Name of the file, for messages.
    """

    number: str
    title: str = ""
    pi: str = ""
    category: str = ""
    cycle: int = 0
    apt_version: str = ""
    prd: str = ""
    targets: dict[int, Target] = field(default_factory=dict)
    observations: list[Observation] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    path: str = ""

    def exposures(self):
        """Every exposure: iterator of (Observation, Visit, Exposure), in the order of execution."""
        for observation in self.observations:
            for visit in observation.visits:
                for exposure in visit.exposures:
                    yield observation, visit, exposure


def raw_name(program, observation, visit, exposure, detector):
    """Name of a raw file.

    Parameters
    ----------
    program : Program
    observation : Observation
    visit : Visit
    exposure : Exposure
    detector : Detector
        One of the exposure's.

    Returns
    -------
    str
        jwPPPPPOOOVVV_GGSAA_EEEEE_detector_uncal.fits
    """
    return (
        f"jw{program.number}{observation.number:03d}{visit.number:03d}"
        f"_{exposure.group}{exposure.sequence}{exposure.activity}_{exposure.number:05d}"
        f"_{detector.name.lower()}_uncal.fits"
    )
