"""Tiny CLIP and SigLIP 2 models with random weights and a tiny tokenizer, in folders as transformers writes them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from projects.DistillNeRF.foundation_models.reduction import Reduction

# Channels of the vectors of the tiny models, and tokens that they read.
CHANNELS, LONGEST = 24, 64
WORDS = (
    *('a', 'an', 'the', 'photo', 'of', 'in', 'street', 'there', 'is', 'scene', '.', 'red', 'car', 'van', 'road'),
    *('building', 'vegetation', 'traffic', 'light', 'tree', 'object', 'things', 'stuff', 'texture', 'sky', 'clouds'),
    *('asphalt', 'sidewalk', 'pavement', 'footpath', 'grass', 'terrain', 'bare', 'ground', 'house', 'wall', 'lamp'),
    *('pole', 'sign', 'bench', 'fence', 'bush', 'vehicle', 'taxi', 'truck', 'lorry', 'bus', 'city', 'motorcycle'),
    *('scooter', 'bicycle', 'cyclist', 'pedestrian', 'person', 'people', 'walking', 'cone', 'barrier', 'guard', 'rail'),
    *('construction', 'excavator', 'crane', 'trailer', 'island', 'track'),
)
SPECIAL = ('<pad>', '<bos>', '<eos>', '<unk>')


def save_words_tokenizer(folder: Path) -> int:
    """A tokenizer of whole words."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = _numbered((*SPECIAL, *WORDS))
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token='<unk>'))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single='<bos> $A <eos>', special_tokens=[(name, vocabulary[name]) for name in ('<bos>', '<eos>')]
    )
    names = dict(zip(('pad_token', 'bos_token', 'eos_token', 'unk_token'), SPECIAL, strict=True))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)
    return len(vocabulary)


def save_letters_tokenizer(folder: Path) -> int:
    """The tokenizer of CLIP with an alphabet of bytes and one merge: letters of other scripts are several tokens."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPTokenizer

    letters = sorted(ByteLevel.alphabet())
    pieces = ['<|startoftext|>', '<|endoftext|>', *letters, *(f'{letter}</w>' for letter in letters), 'ca']
    CLIPTokenizer(vocab=_numbered(pieces), merges=[('c', 'a')]).save_pretrained(folder)
    return len(pieces)


def save_siglip_tokenizer(folder: Path) -> int:
    """The tokenizer of SigLIP 2 with letters of English, and bytes for all others."""
    from transformers import Siglip2Tokenizer

    letters = [*map(chr, range(33, 127)), '\u2581']
    pieces = ['<pad>', '<eos>', '<bos>', '<unk>', '<mask>', *(f'<0x{byte:02X}>' for byte in range(256)), *letters]
    Siglip2Tokenizer(vocab=_numbered(pieces), merges=[]).save_pretrained(folder)
    return len(pieces)


def _numbered(pieces: Sequence[str]) -> dict[str, int]:
    return {piece: number for number, piece in enumerate(pieces)}


def save_model(folder: Path, kind: str = 'clip', seed: int = 0, channels: int = CHANNELS) -> Path:
    """A model of one of :data:`KINDS`, with its tokenizer."""
    import transformers

    torch.manual_seed(seed)
    save_tokenizer, pad, begin, end = KINDS[kind]
    small = {'hidden_size': 16, 'intermediate_size': 32, 'num_hidden_layers': 2, 'num_attention_heads': 2}
    text = {**small, 'max_position_embeddings': LONGEST, 'vocab_size': save_tokenizer(folder)}
    text |= {'pad_token_id': pad, 'bos_token_id': begin, 'eos_token_id': end}
    if kind == 'siglip2':
        text |= {'hidden_size': channels, 'projection_size': channels}
        vision = {**small, 'hidden_size': channels, 'num_patches': 16, 'patch_size': 8}
        model = transformers.Siglip2Model(transformers.Siglip2Config(text_config=text, vision_config=vision))
    else:
        vision = {**small, 'image_size': 32, 'patch_size': 8}
        config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=channels)
        model = transformers.CLIPModel(config)
    with torch.no_grad():
        # As drawn, all words are nearly the same.
        model.text_model.embeddings.token_embedding.weight.normal_(0, 3)
    model.save_pretrained(folder)
    return folder


# Kind of a model -> its tokenizer, and the numbers of the tokens of padding, beginning and end.
KINDS = {
    'clip': (save_words_tokenizer, 0, 1, 2),
    'clip of letters': (save_letters_tokenizer, 1, 0, 1),
    'siglip2': (save_siglip_tokenizer, 0, 2, 1),
}


def random_reduction(channels: int, rows: int = CHANNELS, seed: int = 0) -> Reduction:
    """Orthogonal directions and ranges that differ from channel to channel and are not symmetric about 0."""
    rng = np.random.default_rng(seed)
    matrix = np.linalg.qr(rng.normal(size=(rows, channels)))[0].astype(np.float32)
    low = -rng.uniform(0.2, 1.0, channels).astype(np.float32)
    return Reduction(matrix, low, low + rng.uniform(0.5, 3.0, channels).astype(np.float32))
