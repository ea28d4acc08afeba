#!/bin/bash
# Detector1 for one NIRCam exposure as a pipe, one step a command:
#
#     nircam.sh jw..._uncal.fits REFS OUT_rate.fits
#
# The result is bit for bit that of `jwcal run detector1`; here every step can be changed, left out,
# replaced by another program that reads and writes FITS, or looked at with tee.
set -euo pipefail

uncal=$1
refs=$2
rate=$3

jwcal dq-init "$uncal" --refs "$refs" |
    jwcal saturation --refs "$refs" |
    jwcal superbias --refs "$refs" |
    jwcal refpix --refs "$refs" |
    jwcal linearity --refs "$refs" |
    jwcal dark-current --refs "$refs" |
    jwcal jump --refs "$refs" --rejection-threshold 4 |
    jwcal ramp-fit --refs "$refs" --rateints "${rate%_rate.fits}_rateints.fits" -o "$rate" --overwrite
