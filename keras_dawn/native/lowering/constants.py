"""A graph whose constants can be written as Python: settings are often numbers of NumPy's."""

import numpy as np
import torch


class PlainGraph(torch.fx.Graph):
    """A `torch.fx.Graph` in which a number of NumPy's is the Python number that it is.

    The code that torch generates has the `repr` of each constant, and that of such a number,
    `np.float64(0.1)`, calls a name that the code does not know.

    Example:
        >>> graph = PlainGraph()
        >>> graph.call_function(torch.mul, (graph.placeholder("x"), np.float32(0.5))).args
        (x, 0.5)
    """

    def create_node(self, op, target, args=None, kwargs=None, name=None, type_expr=None):
        args, kwargs = torch.fx.node.map_aggregate((args or (), dict(kwargs or {})), _plain)
        return super().create_node(op, target, args, dict(kwargs), name, type_expr)


def _plain(constant):
    return constant.item() if isinstance(constant, np.generic) else constant
