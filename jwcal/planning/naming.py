"""Names of raw files: visit group, activity and exposure number of every exposure of a visit.

A visit file has numbered groups, a group sequences (one for each instrument that works in parallel) and a
sequence numbered activities; an activity that takes a dither pattern takes one exposure at every point.

- Group 01 is the slew and the acquisition of the guide star.
- Target acquisition is group 02, and each one of several of MIRI a group; the exposures follow in the next
  group, for some templates after a small move, which comes between the two images of NIRCam that confirm the
  acquisition where there are such.  The four images of NIRISS are one activity.
- A wait for a start time is a group before the exposures: moving targets, time series with a phase.
- Without coordinated parallels all exposures are activities of one group.  Between them are activities
  without exposures: a change of the subarray (NIRCam) before the first exposure of the subarray, and a small
  move of the telescope after a dithered configuration and between tiles.
- With coordinated parallels, and with the shutter array of NIRSpec, every configuration is a group of its
  own, with one activity in each sequence, and these moves are groups.

Certain, as visit files and archived names of flight agree: the two layouts, activities of one group in steps
of one and of two, numbers of exposures in a pattern (programs 1134, 1135, 1147; 1063, 1345, 1727, 2221,
2736), the moves after an acquisition (data/planning/names.toml), the images that confirm it (1075, 1194,
1386), acquisitions of NIRISS (1092), of MIRI coronagraphs (1386, 1668) and NIRSpec (1128, 1386, 1970, 2124),
the wait of moving targets (1252, 1373) and of time series (1366, 1541, 2783), the change of the subarray
(1373, 1666), NIRSpec with NIRCam beside it (1180), grisms of NIRISS (1324, 1448).
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
# Acquisition in the wide aperture of NIRSpec, and the image that confirms it.
_WIDE = frozenset(("NRS_WATA", "NRS_TACONFIRM"))
_FOUR = "the groups of more than two acquisitions, and so of what follows, are an estimate"
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
    if acquired and science:
        step = _moves(acquired[-1], science[0])
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
        doubt = doubt or (_FOUR if group > FIRST + 2 + waits else "")
        subarray, before = first.subarray, configured[-1]
        step += 1
        for at, exposure in enumerate(configured, 1):
            exposure.group = f"{group + step - 1 if grouped else group:02d}"
            exposure.activity = base36(within if grouped else step)
            exposure.number = at
            exposure.sure = exposure.sure or doubt
    _name_parallels(exposures)


def _moves(acquisition, first):
    """Activities (int) between the acquisition and the first exposure: moves, changes of the subarray."""
    if first.exp_type == _CONFIRM:
        return 0
    # The wide aperture that a bright star is acquired in is one of the fixed slits: no move to itself.
    if acquisition.exp_type in _WIDE and first.fxd_slit == "S1600A1":
        return 0
    own = table("names")
    return own["moves"].get(first.template, 0) + (
        acquisition.exp_type in _WIDE and first.template in own["wide"]["templates"]
    )


def _name_acquisitions(exposures):
    """Name the exposures of target acquisition; return the group (int) that follows them."""
    group, step, count = FIRST, 0, 0
    for before, exposure in zip([None, *exposures], exposures, strict=False):
        count += 1
        if before is None:
            # Before them a subarray is set (NIRCam), or shutters are (an image that verifies the pointing).
            subarray = exposure.instrument == "NIRCAM" and exposure.subarray != "FULL"
            step = 1 + (subarray or exposure.exp_type == "NRS_IMAGE")
        elif exposure.exp_type == "MIR_TACQ" == before.exp_type:
            group, step, count = group + 1, 1, 1
        elif exposure.exp_type != before.exp_type and exposure.instrument != "NIRISS":
            step, count = step + 1, 1
        exposure.group, exposure.activity, exposure.number = f"{group:02d}", base36(step), count
    return group + 1 if exposures else FIRST


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
