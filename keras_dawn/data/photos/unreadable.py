"""What happens to photos that cannot be read."""

TREATMENTS = ("leave_out", "error", "grey")


class UnreadablePhotoError(ValueError):
    """A file that no decoder reads, or reads only in part."""


class Unreadable:
    """What is done about those files of a source that cannot be read.

    Args:
        treatment: `"leave_out"` (batches have one photo less, and the epoch ends with a warning
            that names the file), `"error"`, or `"grey"` (a grey image, named likewise).
        most: float in [0, 1], the fraction of the photos above which it is an error whatever the
            treatment; a single file never is.

    Raises:
        ValueError: another treatment, or a fraction out of range.

    Example:
        >>> Unreadable("grey").allows(1, of=5)
        True
    """

    def __init__(self, treatment="leave_out", most=0.1):
        if treatment not in TREATMENTS:
            raise ValueError(
                f"`unreadable` must be one of {', '.join(TREATMENTS)}, got {treatment!r}."
            )
        if not 0 <= most <= 1:
            raise ValueError(f"`most_unreadable` must be a fraction in [0, 1], got {most!r}.")
        self.treatment, self.most = treatment, most

    def allows(self, count, of):
        """Whether `count` unreadable files among `of` are no reason to stop."""
        return self.treatment != "error" and count <= max(1, self.most * of)

    def __repr__(self):
        return f"Unreadable({self.treatment!r}, most={self.most})"


def listed(problems, most=5):
    """Names and what is wrong with them in one text, the first few."""
    lines = [f"{name} ({problem})" for name, problem in list(problems.items())[:most]]
    rest = len(problems) - len(lines)
    return "; ".join(lines) + (f"; and {rest} more" if rest else "")
