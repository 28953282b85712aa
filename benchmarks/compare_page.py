"""What the compare page costs, and what it would cost with bokeh's library in it; side by side in one run.

python benchmarks/compare_page.py A_TRACE B_TRACE [--out FILE]
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tokprof.profiler.trace.reader import trace_files

BOKEH = """
import time; started = time.perf_counter()
from bokeh.models import ColumnDataSource, HoverTool
from bokeh.plotting import figure
from bokeh.embed import file_html
from bokeh.resources import INLINE
imported = time.perf_counter()
import numpy as np
n = 2 * {kernels}
source = ColumnDataSource(dict(left=np.arange(n), right=np.arange(n) + 0.9, top=np.ones(n), bottom=np.zeros(n)))
plot = figure(tools="xpan,xwheel_zoom,hover,tap", output_backend="webgl")
plot.quad("left", "right", "top", "bottom", source=source)
page = file_html(plot, INLINE)
print(imported - started, time.perf_counter() - imported, len(page))
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("a", type=Path)
    parser.add_argument("b", type=Path)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "c.html"
        times = []
        for _ in range(5):
            started = time.perf_counter()
            words = ["compare", options.a, options.b, "--html", page, "--force", "--json"]
            subprocess.run(
                [sys.executable, "-m", "tokprof.profiler.cli", *map(str, words)], check=True, capture_output=True
            )
            times.append(time.perf_counter() - started)
        size = page.stat().st_size
    bokeh = subprocess.run(
        [sys.executable, "-c", BOKEH.format(kernels=2000)], capture_output=True, text=True, check=True
    )
    imported, made, length = map(float, bokeh.stdout.split())
    result = {
        "trace bytes": [trace_files(path)[0].stat().st_size for path in (options.a, options.b)],
        "compare, command to page, seconds": sorted(times),
        "page bytes": size,
        "bokeh: import seconds": imported,
        "bokeh: seconds to make a page of the kernels' rectangles alone": made,
        "bokeh: page bytes": int(length),
    }
    text = json.dumps(result, indent=1)
    print(text)
    if options.out is not None:
        options.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
