"""KerasHub's models as PyTorch by hand, with the weights of the Keras models."""

import torch
import torch.nn.functional as F
from everyday_attention_parts import Attention, added
from everyday_twins import embedding_of, linear_of, norm_of
from everyday_variants import ATTENTION
from torch import nn

LENGTH, RATE = 32, 0.1


def backbone_of(model):
    return next(layer for layer in model.layers if hasattr(layer, "transformer_layers"))


class Block(nn.Module):
    """Attention and two dense layers, each with a norm before it or after the sum."""

    def __init__(self, attention, norms, dense, *, first, fused, approximate="none"):
        super().__init__()
        self.attention = Attention(attention, fused)
        self.norms = nn.ModuleList(map(norm_of, norms))
        self.hidden, self.output = map(linear_of, dense)
        self.first, self.approximate = first, approximate
        self.drops_hidden = False

    def forward(self, x, mask=None):
        one, other = self.norms
        if self.first:
            x = x + self._drop(self.attention(one(x), mask))
            return x + self._drop(self._dense(other(x)))
        x = one(x + self._drop(self.attention(x, mask)))
        return other(x + self._drop(self._dense(x)))

    def _dense(self, x):
        x = F.gelu(self.hidden(x), approximate=self.approximate)
        return self.output(self._drop(x) if self.drops_hidden else x)

    def _drop(self, x):
        return F.dropout(x, RATE, self.training)


def _block_of(layer, first, fused):
    """The block of a `TransformerEncoder` or a `TransformerDecoder`."""
    norms = layer._self_attention_layer_norm, layer._feedforward_layer_norm
    dense = layer._feedforward_intermediate_dense, layer._feedforward_output_dense
    return Block(
        layer._self_attention_layer, norms, dense, first=first, fused=fused, approximate="tanh"
    )


class ViT(nn.Module):
    variants = ATTENTION

    @torch.no_grad()
    def __init__(self, model, fused):
        super().__init__()
        _, embedding, encoder, *_, head = model.layers
        kernel, bias = embedding.patch_embedding.kernel.value, embedding.patch_embedding.bias.value
        self.patch = kernel.shape[0]
        self.projection = nn.Linear(kernel[..., 0].numel(), kernel.shape[-1])
        self.projection.weight.copy_(kernel.flatten(0, 2).T)
        self.projection.bias.copy_(bias)
        self.token = nn.Parameter(embedding.class_token.value.detach().clone())
        self.positions = embedding_of(embedding.position_embedding)
        self.blocks = nn.ModuleList()
        for layer in encoder.encoder_layers:
            norms, dense = (layer.layer_norm_1, layer.layer_norm_2), layer.mlp
            dense = dense.dense_1, dense.dense_2
            block = Block(layer.mha, norms, dense, first=True, fused=fused)
            block.drops_hidden = True
            self.blocks.append(block)
        self.norm, self.head = norm_of(encoder.layer_norm), linear_of(head)

    def forward(self, images):
        count, size, _, channels = images.shape
        side, patch = size // self.patch, self.patch
        x = images.view(count, side, patch, side, patch, channels).transpose(2, 3)
        x = self.projection(x.reshape(count, side**2, patch**2 * channels))
        x = torch.cat((self.token.expand(count, 1, -1), x), 1) + self.positions.weight
        x = F.dropout(x, RATE, self.training)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x[:, 0]))


class Bert(nn.Module):
    """The backbone: embeddings and encoders, norms after the sums."""

    def __init__(self, backbone, fused):
        super().__init__()
        self.tokens = embedding_of(backbone.token_embedding)
        self.segments = embedding_of(backbone.segment_embedding)
        positions = backbone.position_embedding.position_embeddings.value
        self.positions = nn.Parameter(positions.detach().clone())
        self.norm = norm_of(backbone.embeddings_layer_norm)
        self.blocks = nn.ModuleList(_block_of(x, False, fused) for x in backbone.transformer_layers)

    def forward(self, token_ids, segment_ids, padding_mask):
        x = self.tokens(token_ids) + self.segments(segment_ids)
        x = F.dropout(self.norm(x + self.positions[: x.shape[1]]), RATE, self.training)
        mask = added(padding_mask.bool()[:, None, None], like=x)
        for block in self.blocks:
            x = block(x, mask)
        return x


class BertClassifier(nn.Module):
    variants = ATTENTION

    def __init__(self, model, fused):
        super().__init__()
        backbone = backbone_of(model)
        self.backbone = Bert(backbone, fused)
        self.pooled, self.head = map(linear_of, (backbone.pooled_dense, model.layers[-1]))

    def forward(self, **inputs):
        x = torch.tanh(self.pooled(self.backbone(**inputs)[:, 0]))
        return self.head(F.dropout(x, RATE, self.training))


class MaskedLM(nn.Module):
    variants = ATTENTION

    def __init__(self, model, fused):
        super().__init__()
        self.backbone, head = Bert(backbone_of(model), fused), model.layers[-1]
        self.hidden = linear_of(head._intermediate_dense)
        self.norm = norm_of(head._intermediate_layer_norm)
        self.bias = nn.Parameter(head._bias.value.detach().clone())

    def forward(self, mask_positions, **inputs):
        x = self.backbone(**inputs)
        x = x.gather(1, mask_positions.long()[..., None].expand(-1, -1, x.shape[2]))
        return F.linear(self.norm(F.gelu(self.hidden(x))), self.backbone.tokens.weight, self.bias)


class GPT2(nn.Module):
    """Norms before the layers; texts are padded at their end, which no word of theirs looks at."""

    variants = ATTENTION

    def __init__(self, model, fused):
        super().__init__()
        backbone = backbone_of(model)
        self.tokens = embedding_of(backbone.token_embedding)
        positions = backbone.position_embedding.position_embeddings.value
        self.positions = nn.Parameter(positions.detach().clone())
        self.blocks = nn.ModuleList(_block_of(x, True, fused) for x in backbone.transformer_layers)
        self.norm = norm_of(backbone.layer_norm)

    def forward(self, token_ids, padding_mask):
        x = F.dropout(self.tokens(token_ids) + self.positions, RATE, self.training)
        steps = torch.ones(LENGTH, LENGTH, dtype=torch.bool, device=x.device).tril()
        mask = added(steps & padding_mask.bool()[:, None, None], like=x)
        for block in self.blocks:
            x = block(x, mask)
        return F.linear(self.norm(x), self.tokens.weight)
