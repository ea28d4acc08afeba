"""Raw files of predicted exposures."""

import math
from dataclasses import dataclass

from jwcal.planning.model import Detector, Exposure, Observation, Visit, raw_name

# Bytes of the largest product of a segment; exposures with more are split between integrations.  Source: jwst
# documentation, "Segmented products"; archived time series fit a limit on the raw file as well.
SEGMENT_BYTES = 2_000_000_000


@dataclass(slots=True, eq=False)
class Raw:
    """One predicted raw file.

    Attributes
    ----------
    name : str
        File name.
    observation : Observation
    visit : Visit
    exposure : Exposure
    detector : Detector
    segment, segments : int
        Number of this segment, from 1, and how many there are; 0 and 1 for a file without segment.
    nints : int
        Integrations in this file.
    sure : str
        "" if the name follows from the program, otherwise why it is an estimate.
    """

    name: str
    observation: Observation
    visit: Visit
    exposure: Exposure
    detector: Detector
    segment: int
    segments: int
    nints: int
    sure: str

    @property
    def exp_type(self):
        """EXP_TYPE (str), upper case."""
        return self.exposure.type_of(self.detector)

    @property
    def readpatt(self):
        """READPATT (str)."""
        return self.exposure.readout_of(self.detector)[0]

    @property
    def ngroups(self):
        """Groups (int) of an integration, at least one."""
        return max(self.exposure.readout_of(self.detector)[1], 1)

    @property
    def all_nints(self):
        """Integrations (int) of the exposure, in all its segments."""
        return max(self.exposure.readout_of(self.detector)[2], 1)

    @property
    def rows(self):
        """Rows (int) of a raw frame, reference pixels interleaved by IRS2 readout included."""
        irs2 = "IRS2" in self.readpatt and self.detector.rows == 2048
        return 3200 if irs2 else self.detector.rows


def raw_files(program):
    """Raw files of a program.

    Parameters
    ----------
    program : Program
        With visits and exposures.

    Returns
    -------
    list of Raw
        In the order of execution; detectors in the order of the exposure.
    """
    return [
        raw
        for observation, visit, exposure in program.exposures()
        for detector in exposure.detectors
        for raw in _of_detector(program, observation, visit, exposure, detector)
    ]


def _of_detector(program, observation, visit, exposure, detector):
    name = raw_name(program, observation, visit, exposure, detector)
    nints = max(exposure.readout_of(detector)[2], 1)
    whole = Raw(name, observation, visit, exposure, detector, 0, 1, nints, exposure.sure)
    pixels = whole.rows * detector.columns
    # Slopes of an integration have five planes of four bytes.
    total = nints * max(2 * pixels * whole.ngroups, 20 * detector.rows * detector.columns)
    count = min(math.ceil(total / SEGMENT_BYTES), nints)
    # Every file of a time-series visit, acquisitions too, has a segment in its name, if only the first.
    if count <= 1 and not any(each.tso for each in visit.exposures):
        yield whole
        return
    each = math.ceil(nints / count)
    count = math.ceil(nints / each)
    sure = exposure.sure or (
        "how many files a large exposure is split into is an estimate" if count > 1 else ""
    )
    for number in range(1, count + 1):
        size = min(each, nints - each * (number - 1))
        part = segment_name(name, number)
        yield Raw(part, observation, visit, exposure, detector, number, count, size, sure)


def segment_name(name, number):
    """Name (str) of a segment of the raw file `name`: ..._00001-seg001_detector_uncal.fits."""
    front, detector, end = name.rsplit("_", 2)
    return f"{front}-seg{number:03d}_{detector}_{end}"


def guided(visit):
    """Whether a visit has guide stars (bool): only visits of internal exposures have none."""
    return any(exposure.target for exposure in visit.exposures)
