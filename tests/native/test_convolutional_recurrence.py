"""The gates of a ConvLSTM: derivatives of each kind, beside gates that are computed one by one."""

from keras_dawn.native.recurrent import conv_lstm

import pytest

from tests.on_device import torch

FILTERS = 2
ONES = (1, 1)
SETTINGS = {"state_shape": (3, 4, FILTERS), "strides": ONES, "dilation": ONES, "padding": "same"}


def tensors():
    torch.manual_seed(0)
    shapes = (2, 3, 3, 4, 2), (4 * FILTERS, 2, 3, 3), (4 * FILTERS, FILTERS, 3, 3), (4 * FILTERS,)
    return [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]


def run(x, kernel, recurrent_kernel, bias):
    outputs = conv_lstm(x, kernel, recurrent_kernel, bias, sequences=True, **SETTINGS)
    return outputs if isinstance(outputs, torch.Tensor) else outputs[0]


def by_hand(x, kernel, recurrent_kernel, bias):
    """Keras's formulas, gate by gate."""
    h = c = x.new_zeros(x.shape[0], FILTERS, *x.shape[2:4])
    outputs = []
    for images in x.movedim(-1, 2).unbind(1):
        sums = torch.conv2d(images, kernel, bias, padding=1)
        i, f, g, o = (sums + torch.conv2d(h, recurrent_kernel, padding=1)).chunk(4, 1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        outputs.append(h.movedim(1, -1))
    return torch.stack(outputs, 1)


def gradients(function, given, **options):
    return torch.autograd.grad(function(*given).square().sum(), given, **options)


def test_outputs_and_gradients_are_those_of_gates_one_by_one():
    given = tensors()
    torch.testing.assert_close(run(*given), by_hand(*given))
    torch.testing.assert_close(gradients(run, given), gradients(by_hand, given))


def test_gradients_of_gradients_are_those_of_gates_one_by_one():
    def of_gradients(function):
        given = tensors()
        total = sum(one.square().sum() for one in gradients(function, given, create_graph=True))
        return torch.autograd.grad(total, given)

    torch.testing.assert_close(of_gradients(run), of_gradients(by_hand))


def test_many_gradients_at_once_are_each_as_by_itself():
    given = tensors()
    outputs, ways = run(*given), torch.randn(3, 2, 3, 3, 4, FILTERS, dtype=torch.float64)
    many = torch.autograd.grad(outputs, given, ways, is_grads_batched=True, retain_graph=True)
    for number, way in enumerate(ways):
        one = torch.autograd.grad(outputs, given, way, retain_graph=True)
        torch.testing.assert_close([each[number] for each in many], list(one))


# torch's own forward derivatives are scripted.
@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:FutureWarning")
@pytest.mark.parametrize("transform", [torch.func.vjp, torch.func.jvp])
def test_transforms_of_functions_see_gates_one_by_one(transform):
    given = tuple(one.detach() for one in tensors())

    def found(function):
        if transform is torch.func.jvp:
            return transform(function, given, given)[1]
        outputs, back = transform(function, *given)
        return back(outputs)

    torch.testing.assert_close(found(run), found(by_hand))


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:FutureWarning")
def test_dual_numbers_are_carried_through():
    forward_ad = torch.autograd.forward_ad

    def found(function):
        with forward_ad.dual_level():
            given = [forward_ad.make_dual(one, one.detach()) for one in tensors()]
            return forward_ad.unpack_dual(function(*given)).tangent

    torch.testing.assert_close(found(run), found(by_hand))
