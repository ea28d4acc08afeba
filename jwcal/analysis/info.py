"""What a file is: product, instrument, mode, readout, sizes, flags, history and next pipeline."""

import os

from jwcal.analysis import planes
from jwcal.core import products as known
from jwcal.core.errors import InputError, JwcalError

_FACTS = {
    "instrument": ("TELESCOP", "INSTRUME", "DETECTOR", "MODULE", "CHANNEL", "BAND"),
    "mode": ("EXP_TYPE", "FILTER", "PUPIL", "GRATING", "SUBARRAY", "SUBSTRT1", "SUBSTRT2", "SUBSIZE1", "SUBSIZE2",
             "FASTAXIS", "SLOWAXIS", "TSOVISIT"),
    "readout": ("READPATT", "NINTS", "NGROUPS", "NFRAMES", "GROUPGAP", "FRMDIVSR", "NOUTPUTS", "EXSEGNUM", "EXSEGTOT",
                "INTSTART", "INTEND"),
    "times": ("TFRAME", "TGROUP", "EFFINTTM", "EFFEXPTM", "DURATION"),
    "observation": ("PROGRAM", "OBSERVTN", "VISIT", "TARGPROP", "TARGNAME", "TITLE", "DATE-OBS", "TIME-OBS"),
}  # fmt: skip
