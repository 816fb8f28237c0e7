"""A ReLU behind the maximum that reads it: the same numbers, of fewer elements."""

import torch


def relu_after_pooling(graph):
    """Exchanges a ReLU and the highest of windows, or of whole axes, where nobody else reads it.

    Both leave the order of numbers as it is, so the results are the same, bit for bit. So are the
    gradients: where the highest is positive it stands at the same place in both orders, and
    elsewhere none passes the ReLU.
    """
    for pool in graph.nodes:
        if pool.op != "call_function" or pool.target not in HIGHEST:
            continue
        relu = pool.args[0]
        if relu.target is not torch.relu or relu.op != "call_function" or len(relu.users) > 1:
            continue
        pool.args = (relu.args[0], *pool.args[1:])
        with graph.inserting_after(pool):
            after = graph.call_function(torch.relu, (pool,))
        pool.replace_all_uses_with(
            after, delete_user_cb=lambda user, after=after: user is not after
        )
        graph.erase_node(relu)


HIGHEST = {torch.max_pool1d, torch.max_pool2d, torch.max_pool3d, torch.amax}
