"""KerasHub's models from a config with random weights, and their twins by hand."""

import importlib.util

import keras
import torch
import torch.nn.functional as F
from everyday_hub_twins import GPT2, LENGTH, RATE, BertClassifier, MaskedLM, ViT
from everyday_loop import Accuracy
from everyday_twins import SMALL, Case, adam

WORDS, DEPTH = 1000, 2


def compiled(inputs, outputs):
    """A graph of a task's layers, without the task's pipeline of TensorFlow's for its data."""
    model = keras.Model(inputs, outputs)
    model.compile(
        keras.optimizers.Adam(1e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def _sizes(scale):
    return {
        "vocabulary_size": WORDS, "num_layers": DEPTH, "hidden_dim": 64 * scale.width,
        "intermediate_dim": 128 * scale.width,
    }  # fmt: skip


def vit_in_keras(scale):
    import keras_hub

    width = 64 * scale.width
    backbone = keras_hub.models.ViTBackbone(
        (32, 32, 3), (4, 4), num_layers=DEPTH, num_heads=2 * scale.width, hidden_dim=width,
        mlp_dim=2 * width, dropout_rate=RATE, attention_dropout=RATE,
    )  # fmt: skip
    return compiled(backbone.input, keras.layers.Dense(10)(backbone.output[:, 0]))


def _bert(scale):
    import keras_hub

    return keras_hub.models.BertBackbone(
        num_heads=2 * scale.width, max_sequence_length=LENGTH, dropout=RATE, **_sizes(scale)
    )


def bert_in_keras(scale):
    import keras_hub

    task = keras_hub.models.BertTextClassifier(_bert(scale), num_classes=4, preprocessor=None)
    return compiled(task.input, task.output)


def masked_lm_in_keras(scale):
    import keras_hub

    task = keras_hub.models.BertMaskedLM(_bert(scale), preprocessor=None)
    return compiled(task.input, task.output)


def gpt2_in_keras(scale):
    import keras_hub

    backbone = keras_hub.models.GPT2Backbone(
        num_heads=2 * scale.width, max_sequence_length=LENGTH, dropout=RATE, **_sizes(scale)
    )
    task = keras_hub.models.GPT2CausalLM(backbone, preprocessor=None)
    return compiled(task.input, task.output)


def _of_words(outputs, targets):
    return F.cross_entropy(outputs.flatten(0, -2), targets.flatten())


def _texts(count):
    tokens = torch.randint(1, WORDS, (count, LENGTH), dtype=torch.int32)
    lengths = torch.randint(LENGTH // 2, LENGTH + 1, (count, 1))
    return {"token_ids": tokens, "padding_mask": (torch.arange(LENGTH) < lengths).int()}


def _bert_inputs(count):
    return _texts(count) | {"segment_ids": torch.zeros(count, LENGTH, dtype=torch.int32)}


def _masked(count):
    places = torch.randint(0, LENGTH, (count, 4), dtype=torch.int32)
    return _bert_inputs(count) | {"mask_positions": places}, torch.randint(0, WORDS, (count, 4))


def cases(scale=SMALL):
    """The `Case`s, in the order of the table; none without KerasHub."""
    if importlib.util.find_spec("keras_hub") is None:
        return []
    count = 8 * scale.samples

    def case(name, model, twin, batch):
        return Case(
            f"KerasHub {name}", lambda: model(scale), twin, _of_words, {"accuracy": Accuracy},
            batch, adam(1e-3), by_chance=True, own_python=True,
        )  # fmt: skip

    def classes(high):
        return torch.randint(0, high, (count,))

    return [
        case("ViT", vit_in_keras, ViT, lambda: (torch.rand(count, 32, 32, 3), classes(10))),
        case("BERT", bert_in_keras, BertClassifier, lambda: (_bert_inputs(count), classes(4))),
        case("BERT, masked words", masked_lm_in_keras, MaskedLM, lambda: _masked(count)),
        case("GPT-2", gpt2_in_keras, GPT2,
             lambda: (_texts(count), torch.randint(0, WORDS, (count, LENGTH)))),
    ]  # fmt: skip
