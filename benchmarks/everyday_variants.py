"""The forms in which a network by hand may be the quickest, and which of them are timed."""

import torch

ONE = {"": {}}  # a twin of one form
IMAGES = {
    "channels_last": {"memory_format": torch.channels_last},
    "contiguous": {"memory_format": torch.contiguous_format},
}
VOLUMES = IMAGES | {"channels_last": {"memory_format": torch.channels_last_3d}}
SERIES = {"conv1d": {"rows": False}, "conv2d of one row": {"rows": True}}
WAVES = SERIES | {"products": {"rows": None}}
TIME = {"texts first": {"time_first": False}, "time first": {"time_first": True}}
ATTENTION = {"fused attention": {"fused": True}, "attention written out": {"fused": False}}
PENALTY = {"penalty in the loss": {"decay": False}, "penalty as Adam's decay": {"decay": True}}


def variants_of(case):
    """Arguments of the case's twin by the name of each form."""
    return getattr(case.twin, "variants", ONE)


def both(one, other):
    """Every form of one kind with every form of another."""
    return {
        f"{name}, {more}": arguments | others
        for name, arguments in one.items()
        for more, others in other.items()
    }


class Regularized:
    """A twin whose Keras model has one L2 penalty on the weights of some of its modules.

    The penalty is added to the loss, or only counted, while Adam decays the weights: it adds
    `weight_decay · w` to their gradients, which is that of `weight_decay / 2 · Σ w²`.
    """

    decay = False

    def regularized(self):
        """The factor and the weights."""
        raise NotImplementedError

    def optimized(self):
        """What the optimizer is given."""
        if not self.decay:
            return self.parameters()
        factor, weights = self.regularized()
        rest = [one for one in self.parameters() if all(one is not weight for weight in weights)]
        decayed = {"params": weights, "weight_decay": 2 * factor}
        return [group for group in (decayed, {"params": rest}) if group["params"]]

    def penalty(self):
        factor, weights = self.regularized()
        if self.decay:
            with torch.no_grad():  # norms write no squares to memory
                return factor * torch.stack(torch._foreach_norm(weights)).square().sum()
        return factor * sum(weight.square().sum() for weight in weights)
