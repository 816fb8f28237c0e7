"""Which forward pass a model that is a graph of layers gets, by what its batches have shown."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class GraphWay:
    """How a graph of layers is lowered.

    Args:
        by_layer: str, why each layer is called by itself, or `None`.
        by_sizes: bool, whether the graph may be lowered for the sizes of each batch.
        shapes: list of shapes that inputs may have where some are of other sizes than the graph
            says, `None` for open sizes in them; or `None`.
    """

    by_layer: str | None = None
    by_sizes: bool = True
    shapes: list | None = None

    def after(self, error, forward):
        """The next way, for a batch that a forward pass could not take.

        Args:
            error: `LoweringError`.
            forward: the forward pass, or `None`.
        """
        shapes = getattr(error, "shapes", None)
        if shapes is not None and shapes != self.shapes:
            return dataclasses.replace(self, shapes=shapes)
        if forward is not None and forward.by_sizes:
            return dataclasses.replace(self, by_sizes=False)
        return dataclasses.replace(self, by_layer=str(error))
