"""The compiled code: without a compiler that knows these options, the package installs and works without it."""

from setuptools import Extension, setup

NATIVE = "src/native"

setup(
    ext_modules=[
        Extension(
            "torchdivergence._native",
            sources=[f"{NATIVE}/module.c"],
            depends=[f"{NATIVE}/{name}.h" for name in ("elementary", "exact", "row")],
            extra_compile_args=["-O3", "-fopenmp", "-fno-math-errno", "-fno-trapping-math"],
            extra_link_args=["-fopenmp"],
            py_limited_api=True,
            optional=True,
        )
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
