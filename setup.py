"""What pyproject.toml cannot say: the C part, of all C files in segmentation/native.

`python setup.py build_ext --inplace` builds it where it stands (`make native`). Code for the machine's own processor
only, by CFLAGS=-march=native, is nobody's default: a built image moves to other machines.
"""

from glob import glob

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "segmentation.native._native",
            sources=sorted(glob("segmentation/native/*.c")),
            depends=sorted(glob("segmentation/native/*.h")),
            # Without a compiler numpy does it all, slower; what must have it (CI, the image) looks for it.
            optional=True,
            extra_compile_args=["-std=c11", "-O3", "-Wall", "-Wextra", "-fvisibility=hidden"],
        )
    ]
)
