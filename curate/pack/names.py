"""Names in a text: symbols, labels of statements, and proper nouns."""

from __future__ import annotations

import re
from collections.abc import Iterator

from curate.pack.wording import Value, is_stated, is_tried

SYMBOL = "name "
"""How the keys of symbols begin."""

_GREEK = (
    r"\\(?:alpha|beta|gamma|delta|theta|lambda|mu|rho|sigma|tau|phi|varphi|psi|omega"
    r"|Gamma|Delta|Omega)"
)
_NAME = r"[A-Za-z](?:_\{?\w{1,8}\}?|\d{0,2})"
_SYMBOL = rf"(?:{_GREEK}(?![A-Za-z])(?:_\{{?\w{{1,8}}\}}?)?|[A-Z]{{2,4}}(?![A-Za-z])|{_NAME})"
_GENERIC = frozenset("ijklmnuvwxyzNXYZ")
"""Names that many texts use for different things. Only a definition makes them values."""
_DEFINED = re.compile(
    r"\b(?:let|define|denote|set|call|name)\s+"
    r"(?:(?:it|this|that|(?P<long>(?:the|this|that|its)(?:\s\w{1,15}){1,3}))\s+)?(?:(?:as|by)\s+)?"
    rf"\$?(?P<name>{_SYMBOL})\$?(?=\s*(?:=|:=|\bbe\b|\bas\b|[,.;]|\bthe\b|\Z))",
    re.IGNORECASE,
)
_MATH = re.compile(r"\$\$?([^$\n]{1,400}?)\$\$?|\\\((.{1,400}?)\\\)|\\\[(.{1,400}?)\\\]", re.DOTALL)
_IN_MATH = re.compile(rf"(?<![A-Za-z\\_{{]){_SYMBOL}(?![A-Za-z(])")
_BARE = re.compile(
    rf"(?<![\w\\]){_NAME}(?=\s*[-+*/^=<>≤≥]\s*[\w(])|(?<=[-+*/^=<>≤≥]\s){_NAME}(?!\w)"
)
_ASSIGNED = re.compile(r"\$?\s*(?:=|:=|\\in\b|∈|\\equiv\b)(?!=)")
"""What follows a symbol that a text gives a value."""
_SOLVED = re.compile(r"\s*=\s*[-−]?(?:\d|\\[dt]?frac)")
"""What follows a letter that a text has solved for, as in `so x = 5`."""

_LABEL = re.compile(
    r"\b(Lemma|Claim|Theorem|Proposition|Corollary|Equation|Eq\.|Formula|Fact|Observation)\s+\(?(\d{1,3}|[A-Z])\)?"
    r"(?!\w|\.\d)"
)
_TAG = re.compile(r"(?<=\s)\((\d{1,2}|\*{1,3}|†)\)(?=[\s.,:;]|\Z)")
_REFERRED = re.compile(
    r"\b(?:by|from|using|with|in|into|of|see|apply(?:ing)?|use|and|to|via|than|combine|combining)\s+"
    r"(?:(?:the|our)\s+)?\(?\Z",
    re.IGNORECASE,
)

_LOWER = "[a-zà-ÿ'’-]"
_PROPER = re.compile(
    rf"(?<![\w\\$.'’])[A-Z]{_LOWER}{{2,20}}"
    rf"(?:[ ](?:(?:of|de|the|von|van|da|del|la)[ ])?[A-Z]{_LOWER}{{1,20}}){{0,4}}"
)
_BEGINNING = re.compile(r"(?:\A|[.!?:;\n>*\"“(—-])[\s*\"“(]*\Z")
_COMMON = re.compile(
    r"(?:after|again|all|also|alternatively|although|altogether|and|another|any|are|as|assume|at|because|"
    r"both|but|by|can|case|check|claim|compare|compute|consider|count|does|each|equation|everyone|every|"
    r"factor|final|finally|first|for|from|fine|given|good|hence|here|how|however|if|in|indeed|insert|"
    r"inserting|into|is|it|its|lemma|let|likewise|look|maybe|modulo|more|moreover|most|multiply|next|no|"
    r"none|not|note|now|of|oh|on|once|one|only|or|other|otherwise|our|part|perhaps|question|right|same|"
    r"second|see|similarly|since|so|solve|some|start|step|still|substitute|subtract|such|suppose|take|"
    r"testing|that|the|their|then|theorem|there|therefore|these|they|third|this|those|thus|to|total|try|"
    r"trying|two|under|use|using|wait|we|well|what|when|where|whether|which|while|who|why|with|yes|you|your)"
    r"(?:['’]s)?",
    re.IGNORECASE,
)
"""Words that begin a sentence and are no names."""
_LISTED = re.compile(r"(?:,|;|\band|\bor|&)\s*\Z")


def names(text: str) -> Iterator[Value]:
    """Yields the names in `text`, in any order."""
    yield from _symbols(text)
    yield from _labels(text)
    yield from _proper_nouns(text)


def _symbols(text: str) -> Iterator[Value]:
    for match in _DEFINED.finditer(text):
        name = match["name"]
        # `Let the first digit be d` is a way to speak, and others may use d for another one.
        if match["long"] is None or not (len(name) == 1 and name.islower()):
            yield Value(_key(name), name, match.start("name"), True)
    for math in _MATH.finditer(text):
        for name in _IN_MATH.finditer(math[0]):
            yield _symbol(text, name[0], math.start() + name.start(), math[0])
    for name in _BARE.finditer(text):
        yield _symbol(text, name[0], name.start(), "")


def _symbol(text: str, name: str, at: int, math: str) -> Value:
    if _plain(name) in _GENERIC:
        return Value(_key(name), name, at, False, not is_tried(text, at))
    alone = math.strip("$()[]\\ ") == name
    if len(name) == 1 and name.islower():
        produced = _SOLVED.match(text, at + 1) is not None and is_stated(text, at)
    else:
        produced = bool(_ASSIGNED.match(text, at + len(name))) or (alone and is_stated(text, at))
    return Value(_key(name), name, at, produced, produced or not is_tried(text, at))


def _labels(text: str) -> Iterator[Value]:
    for match in (*_LABEL.finditer(text), *_TAG.finditer(text)):
        referred = _REFERRED.search(text[max(0, match.start() - 24) : match.start()]) is not None
        kind = (
            "equation" if match[0].startswith("(") else match[1].lower().replace("eq.", "equation")
        )
        number = match[match.lastindex or 0]
        yield Value(f"label {kind} {number}", match[0], match.start(), not referred, referred)


def _proper_nouns(text: str) -> Iterator[Value]:
    listed = -1
    for match in _PROPER.finditer(text):
        words, start = match[0], match.start()
        begins = _BEGINNING.search(text[max(0, start - 8) : start]) is not None
        if begins and _COMMON.fullmatch(words.partition(" ")[0]):
            skipped = words.find(" ") + 1
            if not skipped or not words[skipped].isupper():
                continue
            words, start, begins = words[skipped:], start + skipped, False
        plain = re.sub(r"['’]s\b", "", words)
        follows = listed >= 0 and _LISTED.search(text[listed:start]) is not None
        produced = is_stated(text, start) or (follows and "." not in text[listed:start])
        listed = match.end() if produced else -1
        # A single word at the beginning of a sentence may be any word.
        yield Value(f"noun {plain.lower()}", words, start, produced)


def _key(name: str) -> str:
    return f"{SYMBOL}{_plain(name)}"


def _plain(name: str) -> str:
    return name.replace("{", "").replace("}", "")
