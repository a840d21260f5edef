"""The compiled code: without a compiler that knows these options, the package installs and works without it."""

import sysconfig

from setuptools import Extension, setup

NATIVE = "src/native"
STABLE = not sysconfig.get_config_var("Py_GIL_DISABLED")  # one binary for every Python; without a GIL there is none

setup(
    ext_modules=[
        Extension(
            "torchdivergence._native",
            sources=[f"{NATIVE}/module.c"],
            depends=[f"{NATIVE}/{name}.h" for name in ("elementary", "exact", "row")],
            extra_compile_args=["-O3", "-fopenmp", "-fno-math-errno", "-fno-trapping-math"],
            extra_link_args=["-fopenmp"],
            py_limited_api=STABLE,
            optional=True,
        )
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if STABLE else {},
)
