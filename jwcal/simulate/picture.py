"""Picture of a score: pulls, bias, scatter and completeness in four panels."""

import numpy as np

_GLYPHS = {
    "0": "75557", "1": "26227", "2": "71747", "3": "71717", "4": "55711", "5": "74717", "6": "74757", "7": "71122",
    "8": "75757", "9": "75717", "A": "25755", "B": "65656", "C": "34443", "D": "65556", "E": "74647", "F": "74644",
    "G": "34553", "H": "55755", "I": "72227", "J": "11152", "K": "55655", "L": "44447", "M": "57755", "N": "65555",
    "O": "25552", "P": "65644", "Q": "25563", "R": "65655", "S": "34216", "T": "72222", "U": "55557", "V": "55552",
    "W": "55775", "X": "55255", "Y": "55222", "Z": "71247", ".": "00002", ",": "00024", "-": "00700", "+": "02720",
    "/": "11244", "%": "51245", "(": "24442", ")": "21112", ":": "02020", "=": "07070", "_": "00007", ">": "42124",
    "<": "12421", " ": "00000",
}  # fmt: skip
_INK, _GRID, _BLUE, _RED, _PAPER = (
    (34, 34, 40),
    (222, 222, 226),
    (44, 103, 176),
    (201, 72, 54),
    (252, 252, 250),
)
_PANEL = (340, 480)
_MARGIN = (44, 44, 64, 20)


class Panel:
    """Axes with linear or logarithmic scales on a picture.

    Parameters
    ----------
    picture : numpy.ndarray
        uint8 (ny, nx, 3).
    top, left : int
        Corner of the panel.
    x, y : tuple of float
        Ranges of the axes.
    log_x : bool, optional
    """

    def __init__(self, picture, top, left, x, y, log_x=False):
        self.picture, self.x, self.y, self.log_x = picture, x, y, log_x
        above, below, before, behind = _MARGIN
        self.top, self.bottom = top + above, top + _PANEL[0] - below
        self.left, self.right = left + before, left + _PANEL[1] - behind

    def column(self, value):
        """Pixel column of an abscissa."""
        low, high = self.x
        if self.log_x:
            value, low, high = np.log10([max(value, low), low, high])
        share = (value - low) / (high - low)
        return round(self.left + min(max(share, 0), 1) * (self.right - self.left))

    def row(self, value):
        """Pixel row of an ordinate."""
        low, high = self.y
        share = (value - low) / (high - low)
        return round(self.bottom - min(max(share, 0), 1) * (self.bottom - self.top))

    def box(self, x0, x1, y0, y1, colour):
        """Fill a rectangle given in data units."""
        rows = sorted((self.row(y0), self.row(y1)))
        columns = sorted((self.column(x0), self.column(x1)))
        self.picture[rows[0] : rows[1] + 1, columns[0] : max(columns[1], columns[0] + 1)] = colour

    def level(self, y, colour):
        """Draw a horizontal line."""
        self.picture[self.row(y), self.left : self.right] = colour

    def point(self, x, y, colour, error=0.0, size=3):
        """Draw a square mark with an error bar."""
        c = self.column(x)
        top, bottom = sorted((self.row(y - error), self.row(y + error)))
        self.picture[top : bottom + 1, c : c + 1] = colour
        r = self.row(y)
        self.picture[r - size : r + size + 1, c - size : c + size + 1] = colour

    def curve(self, xs, ys, colour):
        """Draw a connected line."""
        columns = np.arange(self.column(xs[0]), self.column(xs[-1]) + 1)
        rows = np.interp(columns, [self.column(x) for x in xs], [self.row(y) for y in ys]).round().astype(int)
        for column, one, other in zip(columns, rows, np.append(rows[1:], rows[-1]), strict=True):
            self.picture[min(one, other) : max(one, other) + 2, column] = colour

    def frame(self, title, x_ticks, y_ticks):
        """Draw axes, ticks and a title."""
        for value in y_ticks:
            self.level(value, _GRID)
            label = _number(value)
            write_text(self.picture, self.row(value) - 5, self.left - 6 - 8 * len(label), label)
        for value in x_ticks:
            label = _number(value)
            write_text(self.picture, self.bottom + 8, self.column(value) - 4 * len(label), label)
            self.picture[self.bottom : self.bottom + 4, self.column(value)] = _INK
        self.picture[self.top : self.bottom + 1, self.left] = _INK
        self.picture[self.bottom, self.left : self.right] = _INK
        write_text(self.picture, self.top - 24, self.left, title)


def _number(value):
    return f"{value:.3g}"


def write_text(picture, top, left, text, colour=_INK, scale=2):
    """Write capital letters, digits and a few signs of 3 x 5 dots.

    Parameters
    ----------
    picture : numpy.ndarray
        uint8 (ny, nx, 3), changed in place; what does not fit is cut off.
    top, left : int
    text : str
    colour : tuple of int, optional
    scale : int, optional
        Pixels per dot.
    """
    for letter in text.upper():
        glyph = _GLYPHS.get(letter, _GLYPHS[" "])
        dots = np.array([[int(row) >> bit & 1 for bit in (2, 1, 0)] for row in glyph], bool)
        dots = dots.repeat(scale, 0).repeat(scale, 1)
        height, width = dots.shape
        if left >= 0 and top >= 0 and left + width <= picture.shape[1] and top + height <= picture.shape[0]:
            picture[top : top + height, left : left + width][dots] = colour
        left += 4 * scale


def _decades(low, high):
    return [10.0**k for k in range(int(np.ceil(np.log10(low))), int(np.floor(np.log10(high))) + 1)]


def draw(result):
    """Draw a score.

    Parameters
    ----------
    result : dict
        From `jwcal.simulate.score.score`.

    Returns
    -------
    numpy.ndarray
        uint8 (ny, nx, 3).
    """
    height, width = _PANEL
    picture = np.full((2 * height + 30, 2 * width, 3), _PAPER, np.uint8)
    write_text(picture, 12, 20, f"{result['kind']}  {result['file'].rsplit('/', 1)[-1]}")
    flux = [row for row in result.get("flux", []) if row["rate"] > 0]
    clean = result.get("pulls", {}).get("clean", {"n": 0})
    if clean["n"]:
        _pull_panel(picture, clean)
    if flux:
        low, high = min(row["rate"] for row in flux) / 2, max(row["rate"] for row in flux) * 2
        span = max(1.2 * max(100 * (abs(row["bias"]) + row["bias_error"]) for row in flux), 0.1)
        panel = Panel(picture, 30, width, (low, high), (-span, span), log_x=True)
        panel.frame("bias in % by rate (DN/s)", _decades(low, high), (-span, -span / 2, 0, span / 2, span))
        panel.level(0, _INK)
        for row in flux:
            panel.point(row["rate"], 100 * row["bias"], _BLUE, 100 * row["bias_error"])
        top = max(1.3, *(1.1 * max(row["pull_std"], row["pull_sigma68"]) for row in flux))
        panel = Panel(picture, 30 + height, 0, (low, high), (0.7, top), log_x=True)
        panel.frame(
            "scatter / error by rate: std, sigma68", _decades(low, high), np.linspace(0.7, top, 4).round(2)
        )
        panel.level(1, _INK)
        for row in flux:
            panel.point(row["rate"], row["pull_std"], _RED)
            panel.point(row["rate"], row["pull_sigma68"], _BLUE)
    rows = result.get("jumps", {}).get("by_snr", [])
    if rows:
        panel = Panel(picture, 30 + height, width, (1, 100), (0, 1.0), log_x=True)
        panel.frame("cosmic rays found by S/N", (1, 3, 10, 30, 100), (0, 0.25, 0.5, 0.75, 1))
        for row in rows:
            panel.box(max(row["from"], 1), (row["to"] or 100) * 0.98, 0, row["found"], _BLUE)
    return picture


def _pull_panel(picture, clean):
    from jwcal.simulate.score import HISTOGRAM_EDGES

    edges, counts = HISTOGRAM_EDGES, np.array(clean["histogram"])
    step = edges[1] - edges[0]
    density = counts / (clean["n"] * step)
    top = 1.15 * max(density.max(), 0.4)
    panel = Panel(picture, 30, 0, (-5, 5), (0, top))
    panel.frame(
        f"pulls: mean {clean['mean']:.3f} std {clean['std']:.3f}",
        (-4, -2, 0, 2, 4),
        np.linspace(0, top, 4).round(2),
    )
    for low, value in zip(edges, density, strict=False):
        panel.box(low, low + 0.8 * step, 0, value, _BLUE)
    grid = np.linspace(-5, 5, 101)
    panel.curve(grid, np.exp(-grid * grid / 2) / np.sqrt(2 * np.pi), _RED)


def write_picture(path, results, overwrite=False):
    """Write the pictures of scores, one below the other, as PNG.

    Parameters
    ----------
    path : str
    results : list of dict
    overwrite : bool, optional

    Raises
    ------
    OutputError
        If the file exists or cannot be written.
    """
    from jwcal.analysis.png import encode_png
    from jwcal.core.whole import write_whole

    data = encode_png(np.concatenate([draw(result) for result in results]), {"Title": "jwcal sim score"})
    write_whole(path, data, overwrite)
