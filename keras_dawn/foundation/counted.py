"""Numbers of things in words."""


def counted(number, noun):
    """A number and what it counts: `"1 epoch"`, `"1,000 epochs"`; `noun` takes an s for several."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
