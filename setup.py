"""The C extension. It is optional: where it cannot be compiled, the package installs and works without it.

With ``TORCHDIVERGENCE_SANITIZE=1`` it is built for AddressSanitizer and UndefinedBehaviorSanitizer: ``make sanitize``.
"""

import os
import sysconfig
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

SANITIZE = os.environ.get("TORCHDIVERGENCE_SANITIZE", "") not in ("", "0")
OPTIMIZED = ["-O3"]
SANITIZED = ["-O1", "-g", "-fno-omit-frame-pointer", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]

# One binary serves every later Python. A free-threaded Python has no limited API: its binary serves that version only.
LIMITED_API = not sysconfig.get_config_var("Py_GIL_DISABLED")


class BuildExtension(build_ext):
    """Drops the extension from the distribution where it cannot be compiled."""

    def build_extension(self, ext: Extension) -> None:
        """Compile, or leave the package as pure Python."""
        try:
            super().build_extension(ext)
        except Exception:
            self.distribution.ext_modules = []
            raise  # setuptools prints it as a warning, since the extension is optional


class BuildWheel(bdist_wheel):
    """Tags a wheel without the extension as one for every Python and every machine."""

    def run(self) -> None:
        """Compile first: the tag depends on the result."""
        self.run_command("build")
        self.root_is_pure = not self.distribution.has_ext_modules()
        super().run()


setup(
    ext_modules=[
        Extension(
            "torchdivergence._native",
            sources=["src/native/module.c"],
            depends=sorted(map(str, Path("src/native").glob("*.h"))),
            define_macros=[("Py_LIMITED_API", "0x030b0000")] if LIMITED_API else [],
            extra_compile_args=[
                *(SANITIZED if SANITIZE else OPTIMIZED),
                "-ffp-contract=off",  # the code itself says where it fuses: every compiler gives the same bits
                "-fno-math-errno",
                "-fno-trapping-math",
            ],
            extra_link_args=SANITIZED if SANITIZE else [],
            libraries=["m"],
            py_limited_api=LIMITED_API,
            optional=not SANITIZE,
        )
    ],
    cmdclass={"build_ext": BuildExtension, "bdist_wheel": BuildWheel},
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if LIMITED_API else {},
)
