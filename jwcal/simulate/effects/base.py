"""What an effect is, and choosing effects by name."""

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from jwcal.core.errors import UsageError


@dataclass(frozen=True)
class Setting:
    """Exposure that effects act on.

    Attributes
    ----------
    region : jwcal.simulate.detectors.Region
    timing : jwcal.simulate.readout.Timing
    pixels : jwcal.simulate.pixels.Pixels
    light : numpy.ndarray
        float32 (ny, nx), electrons per second detected in every pixel.
    nints : int
    seed : int
    start : float
        Seconds from the start of the sequence of exposures to the start of this one.
    cycle : float
        Time from one integration to the next [s].
    history : dict
        What effects left behind in the exposure before; they change it.
    """

    region: Any
    timing: Any
    pixels: Any
    light: Any
    nints: int
    seed: int
    start: float
    cycle: float
    history: dict


class Effect:
    """One effect on the ramps of an exposure.

    Integrations come in order.  `collect` and `couple` get whole frames; `add` gets a band of
    rows, several at the same time from threads.

    Parameters
    ----------
    setting : Setting
    strength : float
        See `CHOICES`.

    Attributes
    ----------
    collects, couples, adds : bool
        Which of the three the effect needs.
    """

    collects = couples = adds = False

    def __init__(self, setting, strength):
        self.setting, self.strength = setting, strength

    def begin(self, i):
        """Prepare for integration `i` (0-based)."""

    def collect(self, i, frame, seconds, charge):
        """Change the charge [electrons, float32 (ny, nx)] after `seconds` that ended with `frame`."""

    def couple(self, signal):
        """Change the signal of a frame [DN above the bias, float32 (ny, nx)]."""

    def add(self, i, frame, rows, signal):
        """Add to the signal [DN, float32] of the `rows` (a slice) of a frame."""

    def end(self, i):
        """Take stock after integration `i`."""

    def truth(self, first, last):
        """List what is known of the integrations `first` to `last`.

        Parameters
        ----------
        first, last : int
            1-based, inclusive.

        Returns
        -------
        list of tuple
            Name of an extension, array (a table if structured), unit or None.
        """
        return []

    def references(self):
        """List the reference files that describe the effect.

        Returns
        -------
        list of tuple
            Kind, and a function that writes the file: it takes folder and whether to replace
            files, and returns the file's name.
        """
        return []


@dataclass(frozen=True)
class Choice:
    """An effect that can be asked for.

    Attributes
    ----------
    place : str
        Module and class.
    strength : float
        Usual strength.
    meaning : str
        What the strength is, for people.
    instruments : tuple of str
    """

    place: str
    strength: float
    meaning: str
    instruments: tuple


_HAWAII = ("nircam", "niriss", "fgs", "nirspec")
_ALL = (*_HAWAII, "miri")

# In the order of the light's way through the detector.
CHOICES = {
    "charge-migration": Choice(
        "spill.ChargeMigration", 1.0, "brighter-fatter effect, times its usual strength", _ALL
    ),
    "snowballs": Choice("events.Snowballs", 2.0, "mean number in an integration", _HAWAII),
    "showers": Choice("events.Showers", 2.0, "mean number in an integration", ("miri",)),
    "persistence": Choice("persistence.Persistence", 1.0, "latents, times their usual strength", _HAWAII),
    "ipc": Choice("ipc.Coupling", 0.5, "per cent that each neighbour sees", _ALL),
    "flicker": Choice("flicker.Flicker", 1.0, "1/f noise, times the measured amplitude", _HAWAII),
    "emi": Choice("emi.Interference", 1.0, "periodic noise, times its usual amplitude", ("miri",)),
}


def parse(text):
    """Read a list of effects.

    Parameters
    ----------
    text : str
        Names of `CHOICES`, separated by commas, each with ``=STRENGTH`` if not the usual one.

    Returns
    -------
    dict
        Name to strength (float), in the order of `CHOICES`.

    Raises
    ------
    UsageError
        If a name is unknown or appears twice, or a strength is no positive number.
    """
    asked = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        name, _, value = item.partition("=")
        name = name.strip().lower()
        if name not in CHOICES:
            raise UsageError(f"effect {name} is unknown; one of: {', '.join(CHOICES)}")
        if name in asked:
            raise UsageError(f"effect {name} is given twice")
        try:
            strength = float(value) if value else CHOICES[name].strength
        except ValueError:
            strength = 0.0
        if not 0 < strength < 1e6:
            raise UsageError(f"effect {name}: the strength must be a positive number, not {value}")
        asked[name] = strength
    return {name: asked[name] for name in CHOICES if name in asked}


def check(effects, instrument):
    """Refuse effects that an instrument does not have.

    Parameters
    ----------
    effects : dict
        From `parse`.
    instrument : str
        Lower-case name.

    Raises
    ------
    UsageError
    """
    for name in effects:
        if instrument not in CHOICES[name].instruments:
            has = ", ".join(CHOICES[name].instruments)
            raise UsageError(f"effect {name} does not occur in {instrument}; only in {has}")


def build(effects, setting):
    """Make the effects of an exposure.

    Parameters
    ----------
    effects : dict
        From `parse`.
    setting : Setting

    Returns
    -------
    tuple of Effect
    """
    out = []
    for name, strength in effects.items():
        module, _, kind = CHOICES[name].place.partition(".")
        out.append(getattr(import_module(f"jwcal.simulate.effects.{module}"), kind)(setting, strength))
    return tuple(out)
