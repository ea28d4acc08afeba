# A night of raw exposures to slope images, as many at once as make is told:
#
#     make -f night.mk -j2 RAW=/data/night REFS=/data/refs OUT=/data/rate
#
# A file that fails is reported and tried again next time (-k goes on with the others); a file that
# is done is not touched again.

SHELL = bash
.SHELLFLAGS = -o pipefail -ec
.DELETE_ON_ERROR:

RAW ?= raw
REFS ?= refs
OUT ?= rate

rates = $(patsubst $(RAW)/%_uncal.fits,$(OUT)/%_rate.fits,$(wildcard $(RAW)/*_uncal.fits))
pictures = $(rates:.fits=.png)

all: $(rates) $(pictures)

$(OUT)/%_rate.fits: $(RAW)/%_uncal.fits
	mkdir -p $(@D)
	jwcal run detector1 $< -o $@ --rateints $(OUT)/$*_rateints.fits --refs $(REFS) -j1 --overwrite -q

%.png: %.fits
	jwcal preview $< -o $@ --overwrite

.PHONY: all
