"""The C extension. It is optional: where it cannot be compiled, the package installs and works without it.

With ``TORCHDIVERGENCE_SANITIZE=1`` it is built for AddressSanitizer and UndefinedBehaviorSanitizer: ``make sanitize``.
"""

import os
import sysconfig
from pathlib import Path

from setuptools import Extension, setup

SANITIZE = os.environ.get("TORCHDIVERGENCE_SANITIZE", "") not in ("", "0")
OPTIMIZED = ["-O3"]
SANITIZED = ["-O1", "-g", "-fno-omit-frame-pointer", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]

# One binary serves every later Python. A free-threaded Python has no limited API: its binary serves that version only.
LIMITED_API = not sysconfig.get_config_var("Py_GIL_DISABLED")

setup(
    ext_modules=[
        Extension(
            "torchdivergence._native",
            sources=["src/native/module.c"],
            depends=sorted(map(str, Path("src/native").glob("*.h"))),
            define_macros=[("Py_LIMITED_API", "0x030b0000")] if LIMITED_API else [],
            extra_compile_args=[
                *(SANITIZED if SANITIZE else OPTIMIZED),
                "-fopenmp",
                "-fno-math-errno",
                "-fno-trapping-math",
            ],
            extra_link_args=["-fopenmp", *(SANITIZED if SANITIZE else [])],
            py_limited_api=LIMITED_API,
            optional=not SANITIZE,
        )
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if LIMITED_API else {},
)
