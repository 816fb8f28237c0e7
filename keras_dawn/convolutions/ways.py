"""Every way of computing a convolution, by name."""

from keras_dawn.convolutions.beside import Beside
from keras_dawn.convolutions.depthwise import InFloat32, KernelInParts
from keras_dawn.convolutions.folded import Folded
from keras_dawn.convolutions.merged_groups import MergedGroups
from keras_dawn.convolutions.pointwise import Pointwise, PointwiseTransposedFirst
from keras_dawn.convolutions.torchs_own import TorchsOwn, Turned
from keras_dawn.convolutions.windows import TransposedFirst, Windows
from keras_dawn.convolutions.winograd import Winograd

MEBIBYTE = 2**20
TORCH = "torch"
WAYS = {
    way.name: way
    for way in (
        TorchsOwn(TORCH),
        Turned("turned"),
        Windows("windows"),
        Windows("windows in parts", 2 * MEBIBYTE),
        TransposedFirst("transposed"),
        TransposedFirst("transposed in parts", 2 * MEBIBYTE),
        Folded("folded"),
        Pointwise("product"),
        PointwiseTransposedFirst("transposed product"),
        Beside("beside 8", 8),
        Beside("beside 16", 16),
        Winograd("winograd"),
        KernelInParts("kernel in parts"),
        InFloat32("in float32"),
        MergedGroups("merged groups"),
    )
}
