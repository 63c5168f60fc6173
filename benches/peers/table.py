"""Rows of figures, ours beside theirs, and the Markdown that shows them."""

from dataclasses import asdict, dataclass

HEAD = ("where", "against", "ours", "theirs", "ratio", "target", "met")


@dataclass
class Row:
    """One figure of ours, beside one of theirs or beside a bound alone.

    `target` is for the ratio where there are theirs, else for ours; `at_most` says which way it holds.
    """

    where: str
    against: str
    unit: str
    ours: float
    theirs: float | None = None
    target: float | None = None
    at_most: bool = False
    # Why the figures do not count, for example because the outputs differ.
    objection: str = ""

    def ratio(self):
        return None if self.theirs is None else self.ours / self.theirs

    def met(self):
        """None where nothing is asked; NaN meets nothing."""
        if self.target is None:
            return None
        value = self.ours if self.theirs is None else self.ratio()
        good = value <= self.target if self.at_most else value >= self.target
        return good and not self.objection

    def cells(self):
        def figure(value):
            return "" if value is None else f"{value:.3g} {self.unit}"

        ratio, met = self.ratio(), self.met()
        sign = "≤" if self.at_most else "≥"
        bound = "" if self.target is None else f"{sign} {self.target:.3g} {'×' if self.theirs else self.unit}"
        verdict = {None: "", True: "yes", False: "NO"}[met] + (f" ({self.objection})" if self.objection else "")
        return (
            self.where, self.against, figure(self.ours), figure(self.theirs),
            "" if ratio is None else f"{ratio:.2f} ×", bound, verdict,
        )

    def record(self):
        return asdict(self) | {"ratio": self.ratio(), "met": self.met()}


def markdown(head, rows):
    """Rows of cells under their head."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def comparison(rows):
    return markdown(HEAD, [row.cells() for row in rows])
