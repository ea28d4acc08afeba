"""Charge migration: charge of bright pixels that spills over to their neighbours.

Source: Goudfrooij et al. 2024, PASP 136, 014503 (NIRISS); the rules are those of the calibration
pipeline of the observatory, package ``jwst`` 3.0.
"""

from jwcal.core.dq import DQ
from jwcal.core.step import Param, Skip, step
from jwcal.kernels.charge_loss import flag_charge_loss


@step(
    "charge_migration",
    stage="detector1",
    takes="ramp",
    gives="ramp",
    status="S_CHGMIG",
    params=[
        Param("signal_threshold", float, 25000.0, "Signal above which groups are flagged.", unit="DN"),
    ],
    changes=("GROUPDQ",),
    uses=("SCI", "GROUPDQ"),
    default_skip=True,
    halo=1,
)
def charge_migration(tile, refs, p):
    """Flag groups with much signal, and those of the four neighbours.

    From the first group above the threshold (DN) on, a pixel and its neighbours get CHARGELOSS and
    DO_NOT_USE in GROUPDQ.  Groups whose only flag is DO_NOT_USE are not looked at; NaN is not above
    the threshold.  The slope is then fitted without these groups, its read-noise variance as if they
    had been used, so that the weights of bright and faint pixels stay alike.  Off unless asked for
    (``skip = false``), and skipped for fewer than three groups.
    """
    flag_charge_loss(tile["SCI"], tile["GROUPDQ"], p.signal_threshold, DQ["CHARGELOSS"] | DQ["DO_NOT_USE"])


@charge_migration.setup
def _(exposure, refs, p):
    ngroup = exposure.shape[1]
    if ngroup < 3:
        raise Skip(f"{ngroup} group{'s' * (ngroup > 1)}; needs at least three")
