"""Build the optional compiled kernels; everything else is declared in setup.cfg."""

import os
from glob import glob

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "jwcal.kernels._native",
            sources=sorted(glob("jwcal/kernels/src/*.c")),
            depends=sorted(glob("jwcal/kernels/src/*.h")),
            extra_compile_args=[
                "-O3",
                "-std=c11",
                "-ffp-contract=off",
                "-fno-math-errno",
                "-fno-trapping-math",
                "-fvisibility=hidden",
            ],
            libraries=[] if os.name == "nt" else ["m"],
            optional=True,
        )
    ]
)
