"""Readout patterns and the times of frames, groups and integrations."""

from dataclasses import dataclass

from jwcal.core.errors import UsageError
from jwcal.simulate.detectors import catalogue


def _seconds(clocks):
    """Seconds of a number of 10 microsecond clocks."""
    return round(clocks * 1e-5, 8)


@dataclass(frozen=True)
class Timing:
    """How an integration is sampled.

    Attributes
    ----------
    pattern : str
        READPATT.
    nframes, groupgap : int
        Frames averaged into a group, frames dropped between groups.
    divisor : int
        Divisor of the on-board sum (FRMDIVSR).
    ngroups : int
        Groups of an integration.
    tframe : float
        Frame time [s].
    nsamples : int
        A/D samples of a pixel in one frame.
    """

    pattern: str
    nframes: int
    groupgap: int
    divisor: int
    ngroups: int
    tframe: float
    nsamples: int

    @property
    def is_interleaved(self):
        """Whether reference pixels are read among the others (IRS2)."""
        return "IRS2" in self.pattern

    @property
    def tgroup(self):
        """Time between groups [s]."""
        return self.tframe * (self.nframes + self.groupgap)

    @property
    def total_frames(self):
        """Frames of an integration, dropped ones between groups included."""
        return self.ngroups * self.nframes + (self.ngroups - 1) * self.groupgap

    def group_of_frames(self):
        """Group of every frame of an integration.

        Returns
        -------
        list of int
            -1 for a dropped frame.
        """
        period = self.nframes + self.groupgap
        return [f // period if f % period < self.nframes else -1 for f in range(self.total_frames)]

    def group_of(self, frame):
        """Group that is the first to see what happens in a frame."""
        group, within = divmod(frame, self.nframes + self.groupgap)
        return group + (within >= self.nframes)

    @property
    def integration_time(self):
        """Photon collecting time of an integration [s]."""
        return self.total_frames * self.tframe


def frame_time(region, slow=False):
    """Time to read a region once.

    Parameters
    ----------
    region : jwcal.simulate.detectors.Region
    slow : bool, optional
        Whether the mid-infrared slow mode (nine samples a pixel) is used.

    Returns
    -------
    float
        Seconds.

    Notes
    -----
    Near infrared: 12 clocks of overhead a line; with four outputs one more line and one more
    clock, with one output two more lines (NIRSpec: one).  Mid infrared: clocks of the digitised
    and skipped columns, and 7 clocks for every row outside the region; this reproduces the
    published table of frame times.

    References
    ----------
    JWST user documentation, "NIRCam Detector Subarrays", "MIRI Detector Subarrays".
    """
    det = region.detector
    if det.is_miri:
        samples = 9 if slow else 1
        if region.is_full:
            line = region.nx // 4 * samples + (11 if slow else 13)
            return _seconds(region.ny * line)
        skipped = region.x0 // 4
        line = region.nx / 4 * samples + 10 + (-(-skipped // 5) + 1 if skipped else 0)
        return _seconds(region.ny * line + (det.shape[0] - region.ny) * 7)
    columns, lines = (region.nx, region.ny) if region.fast_is_x else (region.ny, region.nx)
    if region.outputs == 4:
        return _seconds((columns // 4 + 12) * (lines + 1) + 1)
    return _seconds((columns + 12) * (lines + (1 if det.instrument == "nirspec" else 2)))


def interleaved_frame_time():
    """Time [s] of a frame of the interleaved readout (IRS2): 712 clocks a line, 714 at the end.

    References
    ----------
    Rauscher et al. 2017, PASP 129 105003.
    """
    return _seconds(712 * 2048 + 714)


def timing(region, pattern=None, ngroups=10, divisor=None):
    """Find the sampling of a region by a readout pattern.

    Parameters
    ----------
    region : jwcal.simulate.detectors.Region
    pattern : str or None
        Official name; the instrument's fastest if not given.
    ngroups : int, optional
        Groups of an integration.
    divisor : int or None
        FRMDIVSR; NFRAMES if not given.

    Returns
    -------
    Timing

    Raises
    ------
    UsageError
        If the instrument has no such pattern or a number is not positive.
    """
    det = region.detector
    name = (pattern or det["readpatt"]).upper()
    patterns = catalogue()["readpatt"][det.instrument]
    if name not in patterns:
        raise UsageError(
            f"readout pattern {name} is unknown for {det.instrument}; one of: {', '.join(patterns)}"
        )
    if ngroups < 1:
        raise UsageError(f"an integration needs at least one group, not {ngroups}")
    nframes, gap = patterns[name]
    if divisor is not None and divisor < 1:
        raise UsageError(f"the frame divisor must be positive, not {divisor}")
    slow = name.startswith("SLOW")
    tframe = interleaved_frame_time() if "IRS2" in name else frame_time(region, slow)
    return Timing(name, nframes, gap, divisor or nframes, ngroups, tframe, 9 if slow else 1)
