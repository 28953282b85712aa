"""Compile the NVML stub: ``python tests/nvml_stub/build.py FOLDER`` writes FOLDER/libnvidia-ml.so.1.

Then run a program with ``LD_LIBRARY_PATH=FOLDER TOKPROF_NVML_STUB=SETTINGS``; nvml_stub.c lists the settings.
"""

import os
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).with_name("nvml_stub.c")


def build(folder: Path) -> Path:
    """Compile the stub into a folder and return the library's path."""
    folder.mkdir(parents=True, exist_ok=True)
    library = folder / "libnvidia-ml.so.1"
    compiler = os.environ.get("CC", "cc")
    flags = ["-std=gnu11", "-O1", "-shared", "-fPIC", "-Wall", "-Wextra", "-Wl,-soname,libnvidia-ml.so.1"]
    subprocess.run([compiler, *flags, "-o", str(library), str(SOURCE)], check=True)
    return library


if __name__ == "__main__":
    print(build(Path(sys.argv[1])))
