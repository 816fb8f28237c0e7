"""Tiny KerasHub models from a config, with random weights, each with data to train it on."""

import keras
import keras_hub
import numpy as np

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.normal(size=(8, 32, 32, 3))
CLASSES = np.arange(8) % 4
LENGTH, WORDS = 6, 20
TEXTS = ["a quick fox", "the fox ran", "quick quick fox", "the fox"] * 2
TOKENS = RANDOM.integers(1, WORDS, (8, LENGTH))
PADDING = np.arange(LENGTH) < RANDOM.integers(2, LENGTH + 1, (8, 1))
SIZES = {
    "vocabulary_size": WORDS,
    "num_layers": 2,
    "hidden_dim": 8,
    "intermediate_dim": 12,
}


def with_head(backbone, inputs, targets, *, pool=True):
    """A classifier of images or tokens on a backbone; several outputs are averaged each."""
    outputs = keras.tree.flatten(backbone.output)
    if pool:
        axes = [tuple(range(1, output.ndim - 1)) for output in outputs]
        outputs = [keras.ops.mean(y, axis) for y, axis in zip(outputs, axes, strict=True)]
    features = outputs[0] if len(outputs) == 1 else keras.layers.Concatenate()(outputs)
    model = keras.Model(backbone.input, keras.layers.Dense(4)(features))
    model.compile(
        keras.optimizers.Adam(0.003, epsilon=0.01),  # else gradients of 0 count by their rounding
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model, {"x": inputs, "y": targets}


def vit_backbone():
    return keras_hub.models.ViTBackbone(
        (32, 32, 3),
        (8, 8),
        num_layers=2,
        num_heads=2,
        hidden_dim=8,
        mlp_dim=12,
        dropout_rate=0.1,
        attention_dropout=0.1,
    )


def bert_backbone():
    return keras_hub.models.BertBackbone(num_heads=2, max_sequence_length=LENGTH, **SIZES)


def gpt2_backbone():
    return keras_hub.models.GPT2Backbone(num_heads=2, max_sequence_length=LENGTH, **SIZES)


def llama_backbone():
    return keras_hub.models.LlamaBackbone(
        num_query_heads=2, num_key_value_heads=1, dropout=0.1, **SIZES
    )


def t5_backbone():
    return keras_hub.models.T5Backbone(num_heads=2, **SIZES)


def swin_backbone():
    return keras_hub.models.SwinTransformerBackbone(
        image_shape=(32, 32, 3),
        embed_dim=8,
        depths=(2, 2),
        num_heads=(2, 2),
        window_size=4,
        dropout_rate=0.1,
    )


def mit_backbone():
    return keras_hub.models.MiTBackbone(
        layerwise_depths=[2, 2],
        num_layers=2,
        layerwise_num_heads=[1, 2],
        layerwise_sr_ratios=[2, 1],
        max_drop_path_rate=0.1,
        image_shape=(32, 32, 3),
        hidden_dims=[8, 16],
        layerwise_patch_sizes=[7, 3],
        layerwise_strides=[4, 2],
    )


def resnet_backbone(stacks=1):
    return keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[3],
        stackwise_num_filters=[64] * stacks,  # as small as it takes
        stackwise_num_blocks=[1] * stacks,
        stackwise_num_strides=[1] + [2] * (stacks - 1),
        block_type="basic_block",
        image_shape=(32, 32, 3),
    )


def retinanet_backbone():
    return keras_hub.models.RetinaNetBackbone(
        image_encoder=resnet_backbone(4),
        min_level=3,
        max_level=6,
        use_p5=True,
        use_fpn_batch_norm=True,
        image_shape=(32, 32, 3),
    )


def mobilenet_backbone():
    return keras_hub.models.MobileNetBackbone(
        stackwise_expansion=[[8, 12], [12]],
        stackwise_num_blocks=[2, 1],
        stackwise_num_filters=[[8, 8], [12]],
        stackwise_kernel_size=[[3, 3], [5]],
        stackwise_num_strides=[[2, 1], [2]],
        stackwise_se_ratio=[[None, 0.25], [0.25]],
        stackwise_activation=[["relu", "relu"], ["hard_swish"]],
        stackwise_padding=[[1, 1], [2]],
        output_num_filters=16,
        input_activation="hard_swish",
        output_activation="hard_swish",
        input_num_filters=8,
        image_shape=(32, 32, 3),
        depthwise_filters=8,
        depthwise_stride=1,
        depthwise_residual=False,
        squeeze_and_excite=0.5,
        last_layer_filter=16,
    )


def vit():
    return with_head(vit_backbone(), IMAGES, CLASSES)


def bert():
    inputs = {
        "token_ids": TOKENS,
        "segment_ids": np.zeros_like(TOKENS),
        "padding_mask": PADDING.astype("int32"),
    }
    return with_head(bert_backbone(), inputs, CLASSES)


def gpt2():
    inputs = {"token_ids": TOKENS, "padding_mask": PADDING.astype("int32")}
    return with_head(gpt2_backbone(), inputs, CLASSES)


def llama():
    inputs = {"token_ids": TOKENS, "padding_mask": PADDING.astype("int32")}
    return with_head(llama_backbone(), inputs, CLASSES)


def t5():
    sides = ("encoder", "decoder")
    inputs = {f"{side}_token_ids": TOKENS for side in sides}
    inputs |= {f"{side}_padding_mask": PADDING.astype("int32") for side in sides}
    return with_head(t5_backbone(), inputs, CLASSES)


def swin():
    return with_head(swin_backbone(), IMAGES, CLASSES)


def mit():
    return with_head(mit_backbone(), IMAGES, CLASSES)


def retinanet():
    return with_head(retinanet_backbone(), IMAGES, CLASSES)


def mobilenet():
    return with_head(mobilenet_backbone(), IMAGES, CLASSES)


def image_classifier():
    model = keras_hub.models.ImageClassifier(
        backbone=mobilenet_backbone(), num_classes=4, preprocessor=None, dropout=0.2
    )
    model.compile("sgd", "sparse_categorical_crossentropy")
    return model, {"x": IMAGES, "y": CLASSES}


def image_classifier_with_a_preprocessor():
    converter = keras_hub.layers.ImageConverter(image_size=(32, 32), scale=1 / 255)
    model = keras_hub.models.ImageClassifier(
        backbone=resnet_backbone(),
        num_classes=4,
        preprocessor=keras_hub.models.ImageClassifierPreprocessor(converter),
    )
    return model, {"x": RANDOM.integers(0, 256, (8, 40, 36, 3)).astype("float32"), "y": CLASSES}


def text_classifier():
    model = keras_hub.models.BertTextClassifier(
        backbone=bert_backbone(), num_classes=4, preprocessor=None
    )
    return model, bert()[1]


def text_classifier_with_a_preprocessor():
    words = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]", "a", "the", "quick", "fox", "ran"]
    preprocessor = keras_hub.models.BertTextClassifierPreprocessor(
        keras_hub.models.BertTokenizer(vocabulary=words), sequence_length=LENGTH
    )
    model = keras_hub.models.BertTextClassifier(
        backbone=bert_backbone(), num_classes=4, preprocessor=preprocessor
    )
    return model, {"x": TEXTS, "y": CLASSES}


def causal_lm():
    model = keras_hub.models.GPT2CausalLM(backbone=gpt2_backbone(), preprocessor=None)
    data = {"x": gpt2()[1]["x"], "y": np.roll(TOKENS, -1, 1), "sample_weight": PADDING}
    return model, data


def causal_lm_with_a_preprocessor():
    merges = ["Ġ f", "o x", "Ġf ox", "h e", "t he"]
    pieces = ["<|endoftext|>", *"aefhotxĠ", *(merge.replace(" ", "") for merge in merges)]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    preprocessor = keras_hub.models.GPT2CausalLMPreprocessor(
        keras_hub.models.GPT2Tokenizer(vocabulary=vocabulary, merges=merges),
        sequence_length=LENGTH,
    )
    model = keras_hub.models.GPT2CausalLM(backbone=gpt2_backbone(), preprocessor=preprocessor)
    return model, {"x": ["a fox", "the fox", "the ox fox", "a hot fox"] * 2}


def llama_lm():
    model = keras_hub.models.LlamaCausalLM(backbone=llama_backbone(), preprocessor=None)
    return model, causal_lm()[1]


def masked_lm():
    model = keras_hub.models.BertMaskedLM(backbone=bert_backbone(), preprocessor=None)
    x = bert()[1]["x"] | {"mask_positions": RANDOM.integers(0, LENGTH, (8, 2))}
    return model, {"x": x, "y": RANDOM.integers(1, WORDS, (8, 2)), "sample_weight": np.ones((8, 2))}


def t5_lm():
    model = keras_hub.models.T5Seq2SeqLM(backbone=t5_backbone(), preprocessor=None)
    return model, {"x": t5()[1]["x"], "y": np.roll(TOKENS, -1, 1), "sample_weight": PADDING}


def object_detector():
    model = keras_hub.models.RetinaNetObjectDetector(
        backbone=retinanet_backbone(),
        num_classes=3,
        bounding_box_format="xyxy",
        preprocessor=None,
        pre_logits_num_conv_layers=1,
    )
    model.compile(
        optimizer=keras.optimizers.SGD(0.001, momentum=0.9),
        box_loss=keras.losses.Huber(reduction="sum"),
        classification_loss=keras.losses.BinaryFocalCrossentropy(from_logits=True, reduction="sum"),
    )
    corners = RANDOM.uniform(2, 14, (8, 2, 2))
    boxes = np.concatenate([corners, corners + RANDOM.uniform(6, 16, (8, 2, 2))], -1)
    y = {"boxes": boxes.astype("float32"), "labels": RANDOM.integers(0, 3, (8, 2))}
    return model, {"x": IMAGES, "y": y}


BACKBONES = [vit, bert, gpt2, llama, t5, swin, mit, retinanet, mobilenet]
TASKS = [
    image_classifier,
    image_classifier_with_a_preprocessor,
    text_classifier,
    text_classifier_with_a_preprocessor,
    causal_lm,
    causal_lm_with_a_preprocessor,
    llama_lm,
    masked_lm,
    t5_lm,
    object_detector,
]
