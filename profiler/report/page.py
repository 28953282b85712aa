"""What the pages share: one set of colours for light and dark screens, and how bokeh's pictures fit into it."""

from typing import Any

FONT = "system-ui, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"
INK, SOFT, LINE, SHADE = "#1a1c1e", "#5c636b", "#d9dde2", "#f4f6f8"  # those of the words on a light screen

# Paper is light whatever the screen is. What bokeh draws has one set of colours, for white; on a dark screen its
# lightness is turned and its hues are kept, which holds for what it shows under the pointer as well. Of the palettes
# here each colour then has a contrast of 3 to 1 or more against the ground, and words have 4.5 to 1.
STYLE = """
:root { color-scheme: light dark; --ground: #fff; --ink: #1a1c1e; --soft: #5c636b; --line: #d9dde2; --lane: #f4f6f8;
  --worse: #c2255c; --better: #1d7a8c; --mark: #1a1c1e; }
@media screen and (prefers-color-scheme: dark) {
  :root { --ground: #14171a; --ink: #e8eaed; --soft: #9aa3ad; --line: #333a41; --lane: #1d2226;
    --worse: #ff6b9a; --better: #5cc2d6; --mark: #fff; }
  .drawn { filter: invert(.92) hue-rotate(180deg); }
}
body { background: var(--ground); color: var(--ink); }
"""


def plain(plot: Any) -> None:
    """Give a bokeh figure the page's ground, ink and font."""
    plot.background_fill_color = plot.border_fill_color = plot.outline_line_color = None
    plot.title.text_color = INK
    plot.title.text_font = plot.axis.major_label_text_font = plot.axis.axis_label_text_font = FONT
    plot.axis.major_label_text_color = plot.axis.axis_label_text_color = INK
    plot.axis.axis_label_text_font_style = "normal"
    plot.grid.grid_line_color = LINE
