"""Exposures one after the other with the same detector, which remembers bright light."""

from pathlib import Path

from jwcal.core.errors import UsageError
from jwcal.simulate.case import write_json
from jwcal.simulate.expose import expose
from jwcal.simulate.guider import MODES

# Seconds between the end of an exposure and the start of the next; steps of the dither, pixels.
PAUSE = 60.0
_STEPS = ((0, 0), (17, 11), (-9, 23), (26, -14), (-21, -18))


def expose_sequence(out, count, references=True, overwrite=False, dither=(0.0, 0.0), **given):
    """Simulate exposures in time order.

    Parameters
    ----------
    out : str or pathlib.Path
        Folder; every exposure gets a folder of it, named by its number.
    count : int
    references : bool, optional
        Whether the first exposure gets reference files; the others use them.
    overwrite : bool, optional
    dither : tuple of float, optional
        Pointing of the first exposure; the others are 10 to 40 pixels away.
    given
        What `jwcal.simulate.expose.expose` takes.

    Returns
    -------
    dict
        Contents of ``case.json``: ``exposures``, each a case with its ``folder``, in time order.

    Raises
    ------
    UsageError
        If the request contradicts itself.
    OutputError
        If a file cannot be written.
    """
    if count < 1:
        raise UsageError(f"a sequence needs at least one exposure, not {count}")
    if given.get("segments", 1) > 1:
        raise UsageError("a sequence does not go with segments")
    if (given.get("exp_type") or "").upper() in MODES:
        raise UsageError(f"a sequence does not go with {given['exp_type']}")
    out = Path(out)
    history: dict = {}
    cases: list = []
    begin = 0.0
    first = given.pop("exposure", 1)
    seed = given.pop("seed", 1)
    for k in range(count):
        folder = f"{first + k:05d}"
        dx, dy = _STEPS[k % len(_STEPS)]
        case = expose(
            out / folder,
            references=references and k == 0,
            overwrite=overwrite,
            dither=(dither[0] + dx, dither[1] + dy),
            exposure=first + k,
            seed=seed + k,
            history=history,
            begin=begin,
            **given,
        )
        begin += case["seconds"] + PAUSE
        if k and references:
            case["refs"] = {kind: f"../{first:05d}/{name}" for kind, name in cases[0]["refs"].items()}
            write_json(out / folder / "case.json", case)
        cases.append({"folder": folder, **case})
    whole = {"exposures": cases}
    write_json(out / "case.json", whole)
    return whole
