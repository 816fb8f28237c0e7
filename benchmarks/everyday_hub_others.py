"""More of KerasHub's models, in Keras alone: no twin by hand, so only plain Keras is the measure.

From a config with random weights, as those in `everyday_hub`, whose layers keep their own Python.
"""

import importlib.util

import keras
import torch
from everyday_hub import DEPTH, LENGTH, RATE, WORDS, compiled
from everyday_loop import Accuracy
from everyday_twins import SMALL, Case, adam

CLASSES, SIZE = 10, 32


def _with_head(backbone):
    """A classifier on the means of what a backbone puts out."""
    outputs = keras.tree.flatten(backbone.output)
    pooled = [keras.ops.mean(each, tuple(range(1, each.ndim - 1))) for each in outputs]
    features = pooled[0] if len(pooled) == 1 else keras.layers.Concatenate()(pooled)
    return compiled(backbone.input, keras.layers.Dense(CLASSES)(features))


def _of_words(scale):
    return {
        "vocabulary_size": WORDS, "num_layers": DEPTH, "hidden_dim": 64 * scale.width,
        "intermediate_dim": 128 * scale.width, "dropout": RATE,
    }  # fmt: skip


def _llama(scale):
    import keras_hub

    heads = 2 * scale.width
    return keras_hub.models.LlamaBackbone(
        num_query_heads=heads, num_key_value_heads=heads // 2, **_of_words(scale)
    )


def llama_in_keras(scale):
    return _with_head(_llama(scale))


def llama_lm_in_keras(scale):
    import keras_hub

    task = keras_hub.models.LlamaCausalLM(_llama(scale), preprocessor=None)
    return compiled(task.input, task.output)


def t5_in_keras(scale):
    import keras_hub

    backbone = keras_hub.models.T5Backbone(num_heads=2 * scale.width, **_of_words(scale))
    return _with_head(backbone)


def swin_in_keras(scale):
    import keras_hub

    return _with_head(
        keras_hub.models.SwinTransformerBackbone(
            image_shape=(SIZE, SIZE, 3), embed_dim=32 * scale.width, depths=(2, 2),
            num_heads=(2, 4), window_size=4, dropout_rate=RATE,
        )
    )  # fmt: skip


def mit_in_keras(scale):
    import keras_hub

    return _with_head(
        keras_hub.models.MiTBackbone(
            layerwise_depths=[2, 2], num_layers=2, layerwise_num_heads=[1, 2],
            layerwise_sr_ratios=[2, 1], max_drop_path_rate=RATE, image_shape=(SIZE, SIZE, 3),
            hidden_dims=[32 * scale.width, 64 * scale.width], layerwise_patch_sizes=[7, 3],
            layerwise_strides=[4, 2],
        )
    )  # fmt: skip


def _resnet(stacks):
    import keras_hub

    return keras_hub.models.ResNetBackbone(
        input_conv_filters=[64], input_conv_kernel_sizes=[3],  # as small as it takes
        stackwise_num_filters=[64] * stacks, stackwise_num_blocks=[1] * stacks,
        stackwise_num_strides=[1] + [2] * (stacks - 1), block_type="basic_block",
        image_shape=(SIZE, SIZE, 3),
    )  # fmt: skip


def image_classifier_in_keras(scale):
    import keras_hub

    task = keras_hub.models.ImageClassifier(
        backbone=_resnet(2), num_classes=CLASSES, preprocessor=None
    )
    return compiled(task.input, task.output)


def retinanet_in_keras(scale):
    import keras_hub

    return _with_head(
        keras_hub.models.RetinaNetBackbone(
            image_encoder=_resnet(4), min_level=3, max_level=6, use_p5=True,
            use_fpn_batch_norm=True, image_shape=(SIZE, SIZE, 3),
        )
    )  # fmt: skip


def _texts(count):
    lengths = torch.randint(LENGTH // 2, LENGTH + 1, (count, 1))
    padding = (torch.arange(LENGTH) < lengths).int()
    return torch.randint(1, WORDS, (count, LENGTH), dtype=torch.int32), padding


def cases(scale=SMALL):
    """The `Case`s, in the order of the table; none without KerasHub."""
    if importlib.util.find_spec("keras_hub") is None:
        return []
    count = 8 * scale.samples

    def images():
        return torch.rand(count, SIZE, SIZE, 3), torch.randint(0, CLASSES, (count,))

    def texts():
        tokens, padding = _texts(count)
        inputs = {"token_ids": tokens, "padding_mask": padding}
        return inputs, torch.randint(0, CLASSES, (count,))

    def next_words():
        inputs, _ = texts()
        return inputs, torch.randint(0, WORDS, (count, LENGTH))

    def pairs_of_texts():
        inputs = {}
        for side in ("encoder", "decoder"):
            tokens, padding = _texts(count)
            inputs |= {f"{side}_token_ids": tokens, f"{side}_padding_mask": padding}
        return inputs, torch.randint(0, CLASSES, (count,))

    def case(name, model, batch):
        return Case(
            f"KerasHub {name}", lambda: model(scale), None, None, {"accuracy": Accuracy},
            batch, adam(1e-3), by_chance=True, own_python=True,
        )  # fmt: skip

    return [
        case("Llama", llama_in_keras, texts),
        case("Llama, CausalLM", llama_lm_in_keras, next_words),
        case("T5", t5_in_keras, pairs_of_texts),
        case("Swin", swin_in_keras, images),
        case("MiT", mit_in_keras, images),
        case("RetinaNet", retinanet_in_keras, images),
        case("ResNet, ImageClassifier", image_classifier_in_keras, images),
    ]
