"""The compiled rows: without a compiler that knows these options, the package installs and works without them."""

from setuptools import Extension, setup

NATIVE = "src/torchdivergence/_rows/native"

setup(
    ext_modules=[
        Extension(
            "torchdivergence._rows._native",
            sources=[f"{NATIVE}/module.c"],
            depends=[f"{NATIVE}/elementary.h", f"{NATIVE}/row.h"],
            extra_compile_args=["-O3", "-fopenmp", "-fno-math-errno", "-fno-trapping-math"],
            extra_link_args=["-fopenmp"],
            py_limited_api=True,
            optional=True,
        )
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
