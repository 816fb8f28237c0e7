"""Maps of pixels that differ from image to image: turns, zooms, shifts, shears.

Each is said in two ways. `matrices(height, width)` are Keras's, `(batch, 6)`: a row
`a0, a1, a2, b0, b1, b2` takes the pixel `(x, y)` of the result from
`(a0 x + a1 y + a2, b0 x + b1 y + b2)`, the first pixel being `(0, 0)`.
`from_middle(height, width)` is a list of the same six, each `(batch,)`, for pixels that are
counted from the middle of the image.
"""

import torch


class Turn:
    """Turns about the middle, by degrees `(batch,)`."""

    def __init__(self, angles):
        self._angles = angles * (torch.pi / 180)

    def matrices(self, height, width):
        x, y = 0.5 * (width - 1), 0.5 * (height - 1)
        cosine, sine = torch.cos(self._angles), torch.sin(self._angles)
        across = x - x * cosine - y * -sine
        down = y - x * sine - y * cosine
        return torch.stack([cosine, -sine, across, sine, cosine, down], 1)

    def from_middle(self, height, width):
        cosine, sine = torch.cos(self._angles), torch.sin(self._angles)
        none = torch.zeros_like(sine)
        return [cosine, -sine, none, sine, cosine, none]


class Zoom:
    """Zooms about the middle by `(batch, 2)`, of width and height."""

    def __init__(self, factors):
        self._factors = factors.unbind(1)

    def matrices(self, height, width):
        x, y = self._factors
        none = torch.zeros_like(x)
        across = (width - 1) / 2 * (1 - x)
        down = (height - 1) / 2 * (1 - y)
        return torch.stack([x, none, across, none, y, down], 1)

    def from_middle(self, height, width):
        x, y = self._factors
        none = torch.zeros_like(x)
        return [x, none, none, none, y, none]


class Shift:
    """Moves by pixels `(batch, 2)`, to the right and down."""

    def __init__(self, distances):
        self._distances = distances.unbind(1)

    def matrices(self, height, width):
        return torch.stack(self.from_middle(height, width), 1)

    def from_middle(self, height, width):
        x, y = self._distances
        one, none = torch.ones_like(x), torch.zeros_like(x)
        return [one, none, -x, none, one, -y]


class Shear:
    """Shears by `(batch, 2)`, along the rows and the columns."""

    def __init__(self, factors):
        self._factors = factors.unbind(1)

    def matrices(self, height, width):
        x, y = self._factors
        one, none = torch.ones_like(x), torch.zeros_like(x)
        return torch.stack([one, x, none, y, one, none], 1)

    def from_middle(self, height, width):
        x, y = self._factors
        one = torch.ones_like(x)
        return [one, x, x * ((height - 1) / 2), y, one, y * ((width - 1) / 2)]
