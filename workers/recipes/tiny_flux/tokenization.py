"""The two tokenizers: CLIP's byte-level BPE and T5's unigram, both trained on the captions."""

# ruff: noqa: S106 - a tokenizer's tokens are no passwords

import json
import math
import random
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from catalogue import Catalogue, random_caption
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTokenizer, PreTrainedTokenizerFast, T5TokenizerFast

VOCABULARY_SIZE = 1536
_CLIP_PIECES = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


class Tokenizers(NamedTuple):
    clip: CLIPTokenizer
    t5: PreTrainedTokenizerFast


def load_tokenizers(folder: Path) -> Tokenizers:
    return Tokenizers(
        CLIPTokenizer.from_pretrained(folder / "tokenizer"),
        PreTrainedTokenizerFast.from_pretrained(folder / "tokenizer_2"),
    )


def tokenize(tokenizers: Tokenizers, captions: Sequence[str], text_length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return T5's ids, shape (B, text_length), and CLIP's, shape (B, longest caption)."""
    texts = list(captions)
    t5 = tokenizers.t5(texts, padding="max_length", max_length=text_length, truncation=True, return_tensors="pt")
    clip = tokenizers.clip(texts, padding="longest", max_length=77, truncation=True, return_tensors="pt")
    return t5.input_ids, clip.input_ids


def build_tokenizers(catalogue: Catalogue, folder: Path, phrases: Sequence[str] = ()) -> None:
    """Write folder/tokenizer (CLIP) and folder/tokenizer_2 (T5), in which every word of a concept is one token.

    `phrases` is further English, names and keywords, for words that no caption has.
    """
    corpus = _corpus(catalogue, phrases)
    _build_clip(corpus).save_pretrained(folder / "tokenizer")
    _build_t5(corpus).save_pretrained(folder / "tokenizer_2")


def _corpus(catalogue: Catalogue, phrases: Sequence[str]) -> list[str]:
    rng = random.Random(0)  # noqa: S311
    backgrounds = list(catalogue.palette)
    corpus = [
        random_caption(catalogue, icon, style, rng.choice(backgrounds), rng)
        for icon in catalogue.concepts
        for style in catalogue.styles
        for _ in range(20)
    ]
    corpus += [name for names in catalogue.concepts.values() for name in names for _ in range(10)]
    return [*corpus, *phrases, *catalogue.common_words * 20]


def _build_clip(corpus: list[str]) -> CLIPTokenizer:
    trained = Tokenizer(models.BPE(unk_token="<|endoftext|>", end_of_word_suffix="</w>", fuse_unk=False))
    trained.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    trained.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_CLIP_PIECES), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE,
        special_tokens=["<|startoftext|>", "<|endoftext|>"],
        end_of_word_suffix="</w>",
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    trained.train_from_iterator(corpus, trainer)
    model = json.loads(trained.to_str())["model"]
    vocabulary = model["vocab"]
    # The trainer makes only the final pieces it saw; without all of them an unseen word would lose its last letter.
    for letter in sorted(pre_tokenizers.ByteLevel.alphabet()):
        vocabulary.setdefault(letter + "</w>", len(vocabulary))
    merges = [tuple(merge) for merge in model["merges"]]
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=77)


def _build_t5(corpus: list[str]) -> PreTrainedTokenizerFast:
    """Whole words by their frequency first, then letters, then the pieces that a unigram trainer finds."""
    letters = list("abcdefghijklmnopqrstuvwxyz0123456789-_,.!?'()/:;&+#\"")
    words = Counter(word for text in corpus for word in re.findall(r"[a-z0-9]+", text.lower()))
    total = sum(words.values())
    rarest = math.log(1 / total)
    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -4.0)]
    vocabulary += [("▁" + word, math.log(count / total)) for word, count in words.most_common(1150)]
    known = {piece for piece, _ in vocabulary}
    vocabulary += [(letter, rarest - 4) for letter in letters if letter not in known]
    known |= set(letters)
    for piece, score in _unigram_pieces(corpus, letters):
        if piece not in known and len(vocabulary) < VOCABULARY_SIZE and len(piece) > 1:
            vocabulary.append((piece, min(score, -8) - 3))
            known.add(piece)
    # T5TokenizerFast brings the post-processor that appends </s>. It drops a lowercase normaliser when it is loaded,
    # so the tokenizer is saved as the general class.
    t5 = T5TokenizerFast(vocab=vocabulary, extra_ids=0, model_max_length=512).backend_tokenizer
    t5.normalizer = normalizers.Sequence([normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase()])
    return PreTrainedTokenizerFast(
        tokenizer_object=t5, eos_token="</s>", unk_token="<unk>", pad_token="<pad>", model_max_length=512
    )


def _unigram_pieces(corpus: list[str], letters: list[str]) -> list[tuple[str, float]]:
    trained = Tokenizer(models.Unigram())
    trained.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    trained.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    trainer = trainers.UnigramTrainer(
        vocab_size=VOCABULARY_SIZE,
        special_tokens=["<pad>", "</s>", "<unk>"],
        unk_token="<unk>",
        initial_alphabet=letters,
        show_progress=False,
    )
    trained.train_from_iterator(corpus, trainer)
    return [(piece, score) for piece, score in json.loads(trained.to_str())["model"]["vocab"]]
