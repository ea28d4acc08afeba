"""Names of raw files: visit group, activity and exposure number of every exposure of a visit.

A visit file has numbered groups, a group sequences (one for each instrument that works in parallel) and a
sequence numbered activities; an activity that takes a dither pattern takes one exposure at every point.

- Group 01 is the slew and the acquisition of the guide star.
- Target acquisition is group 02; the exposures follow in the next group, for some templates after a small
  move, which comes between the two images of NIRCam that confirm the acquisition where there are such.
- A wait for a start time is a group before the exposures: moving targets, time series with a phase.
- Without coordinated parallels all exposures are activities of one group.  Between them are activities
  without exposures: a change of the subarray (NIRCam) before the first exposure of the subarray, and a small
  move of the telescope after a dithered configuration and between tiles.
- With coordinated parallels, and with the shutter array of NIRSpec, every configuration is a group of its
  own, with one activity in each sequence, and these moves are groups.

Certain, as visit files and archived names of flight agree: the two layouts, activities of one group in steps
of one and of two, numbers of exposures in a pattern (programs 1134, 1135, 1147; 1063, 1345, 1727, 2221,
2736), the moves after an acquisition (data/planning/names.toml), the images that confirm it (1075, 1194,
1386), the wait of moving targets (1252, 1373) and of time series (1366, 1541, 2783), the change of the
subarray (1373, 1666), NIRSpec with NIRCam beside it (1180), grisms of NIRISS (1324, 1448).
Estimated: waits for other reasons (links of observations, windows) put all groups one higher, which the
program does not tell; where an observation of NIRCam changes between subarrays; mosaics of several tiles in
one visit with a dither pattern; what data/planning/names.toml lists as estimated.

Sources: visit files of programs 721 to 1147; names of flight data; JWST User Documentation, "JWST File Naming
Conventions and Data Products".
"""

from itertools import groupby

from jwcal.planning.templates.common import table

# Group of the first exposure: group 01 is the guide star.
FIRST = 2
_CONFIRM = "NRC_TACONFIRM"
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


def base36(value, width=2):
    """Write an integer in base 36 with lower-case digits, as activities are numbered (str)."""
    cells: list[str] = []
    while value or len(cells) < width:
        value, digit = divmod(value, 36)
        cells.append(_DIGITS[digit])
    return "".join(reversed(cells))


def name_visit(exposures, *, waits=False):
    """Give the exposures of a visit their group, activity and number.

    Parameters
    ----------
    exposures : list of Exposure
        In the order of execution; exposures taken at the same time have the same `order`.  Changed in place.
    waits : bool
        The exposures must begin at a given time.
    """
    primes = [exposure for exposure in exposures if exposure.parallel != "coordinated"]
    acquired = [exposure for exposure in primes if exposure.acquisition and exposure.exp_type != _CONFIRM]
    science = [exposure for exposure in primes if not exposure.acquisition or exposure.exp_type == _CONFIRM]
    group = _name_acquisitions(acquired) + waits
    own = table("names")
    template = science[0].template if science else ""
    grouped = template in own["groups"]["templates"] or any(exposure.parallel for exposure in exposures)
    step, subarray, before = 0, acquired[-1].subarray if acquired else "FULL", None
    if acquired and science and science[0].exp_type != _CONFIRM:
        step = own["moves"].get(template, 0)
    for _, run in groupby(science, key=lambda exposure: (exposure.tile, exposure.config)):
        configured = list(run)
        first = configured[0]
        if before is not None and (
            before.tile != first.tile
            or before.dither.points > 1
            or first.parallel == "pure"
            or first.exp_type == _CONFIRM
        ):
            step += 1
        within = 1
        if first.instrument == "NIRCAM" and first.subarray != subarray:
            within, step = (within + 1, step) if grouped else (within, step + 1)
        doubt = own["estimated"].get(template, "") if acquired or before is not None else ""
        subarray, before = first.subarray, configured[-1]
        step += 1
        for at, exposure in enumerate(configured, 1):
            exposure.group = f"{group + step - 1 if grouped else group:02d}"
            exposure.activity = base36(within if grouped else step)
            exposure.number = at
            exposure.sure = exposure.sure or doubt
    _name_parallels(exposures)


def _name_acquisitions(exposures):
    """Name the exposures of target acquisition; return the group (int) that follows them."""
    step = 0
    for at, exposure in enumerate(exposures):
        if at == 0 and exposure.instrument == "NIRCAM" and exposure.subarray != "FULL":
            step += 1
        if at == 0 or exposure.exp_type != exposures[at - 1].exp_type:
            step += 1
        exposure.group, exposure.activity = f"{FIRST:02d}", base36(step)
        exposure.number = 1 + sum(other.activity == exposure.activity for other in exposures[:at])
    return FIRST + 1 if exposures else FIRST


def _name_parallels(exposures):
    """Name exposures of parallels after the prime exposure that each is taken with."""
    primes = {exposure.order: exposure for exposure in exposures if exposure.parallel != "coordinated"}
    taken: dict[tuple[str, str, str], int] = {}
    for exposure in exposures:
        prime = primes.get(exposure.order)
        if exposure.parallel != "coordinated" or prime is None:
            continue
        exposure.group, exposure.activity = prime.group, "01"
        key = exposure.sequence, exposure.group, exposure.activity
        taken[key] = exposure.number = taken.get(key, 0) + 1
