"""Builds the CLIP tokenizer: byte-pair merges learned on English, one token for every Chinese character.

CLIP's pre-tokenizer takes a whole Chinese sentence for one word, and BPE would learn sentences as tokens; so Chinese
is excluded from the learning, and the byte merges of every character are added by hand. Unknown characters become
bytes.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTokenizer

from training import data
from training.configuration import Configuration

_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
_START, _END = "<|startoftext|>", "<|endoftext|>"
_EVERYDAY = (
    "的一是了我不在人有他这中大来上个国到说们为子和你地出道也时年得就那要下以生会自着去之过家学对可她里后小么心多天"
    "而能好都然没日于起还发成事只作当想看文无开手用主行方又如前所本见经头面公同三已老从动两长知民样现分将外但身些与"
    "高意进把法此实回二理美点月明其种声全工己话儿者向情部正名定女问力机给等几很业最间新什打便位因重被走电四第门相次"
    "东政海口使教西再平真听世气信北少关并内加化由却代军产入先山五太水万市眼体别处总才场师书比住员九笑性通目华报立马"
    "命张活难神数件安表原车白应路期叫死常提感金何更反合放做系计或司利受光王果亲界及今京务制解各任至清物台象记边共风"
    "战干接它许八特觉望直服毛林题建南度统色字请交爱让认算论百吃义科怎元社术结六功指思非流每青管夫连远资队跟带花快条"
    "院变联言权往展该领传近留红治决周保达办运武半候七必城父强步完革深区即求品士转量空甚众技轻程告江语英基派满式李息"
    "写呢识极令黄德收脸钱党倒未持取设始版双历越史商千片容研像找友孩站广改议形委早房音火际则首单据导影失拿网香似斯专"
    "石若兵弟谁校读志飞观争究包组造落视济喜离虽坏兴"
)
"""The commonest characters: in a caption's word never seen in training each still costs one token only."""


def path(configuration: Configuration) -> Path:
    return configuration.data / "tokenizer"


def load(configuration: Configuration) -> CLIPTokenizer:
    """Open the tokenizer that `train` left."""
    return CLIPTokenizer.from_pretrained(path(configuration))


def train(configuration: Configuration) -> None:
    """Learn the merges from the training captions and write a stock CLIPTokenizer folder."""
    folder = path(configuration)
    if folder.exists():
        return
    captions = [caption for row in data.load(configuration.data, "train").captions for caption in row]
    vocabulary, merges = _learn(caption for caption in captions if caption.isascii())
    characters = {character for caption in captions for character in caption if ord(character) > 0x2E80}
    _add_characters(vocabulary, merges, sorted(characters | set(_EVERYDAY)))
    draft = folder.with_suffix(".part")
    draft.mkdir(parents=True, exist_ok=True)
    (draft / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
    lines = "\n".join(" ".join(pair) for pair in merges)
    (draft / "merges.txt").write_text(f"#version: 0.2\n{lines}\n", encoding="utf-8")
    settings: dict[str, Any] = {
        "model_max_length": configuration.text_length,
        "bos_token": _START,
        **dict.fromkeys(("eos_token", "pad_token", "unk_token"), _END),
    }
    (draft / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    tokenizer = CLIPTokenizer.from_pretrained(draft)
    tokenizer.save_pretrained(folder)


def _learn(captions: Iterable[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>", unk_token=_END))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    splitter = pre_tokenizers.Split(Regex(_WORDS), behavior="removed", invert=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([splitter, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=4096,
        special_tokens=[_START, _END],
        initial_alphabet=alphabet,
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    tokenizer.train_from_iterator(captions, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    vocabulary: dict[str, int] = dict(model["vocab"])
    for byte in alphabet:
        vocabulary.setdefault(byte + "</w>", len(vocabulary))
    return vocabulary, [tuple(merge) for merge in model["merges"]]


def _add_characters(vocabulary: dict[str, int], merges: list[tuple[str, str]], characters: list[str]) -> None:
    """Add merges so that a three-byte character becomes one token, within a word and at its end."""
    known_merges = set(merges)

    def add(left: str, right: str) -> None:
        if (left, right) not in known_merges:
            known_merges.add((left, right))
            merges.append((left, right))
            vocabulary.setdefault(left + right, len(vocabulary))

    letters = _byte_letters()
    words = ["".join(letters[byte] for byte in character.encode()) for character in characters]
    for word in words:
        add(word[0], word[1])
    for word in words:
        add(word[:2], word[2])
        add(word[:2], word[2] + "</w>")


def _byte_letters() -> dict[int, str]:
    """The printable letter that stands for each byte in byte-level BPE (GPT-2's table)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = {byte: chr(byte) for byte in printable}
    for byte in range(256):
        letters.setdefault(byte, chr(256 + len(letters) - len(printable)))
    return letters
