"""Parses an expression. What it does not know is unreadable, and nothing is skipped."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction

from curate.grade.mathematics.characters import Unreadable
from curate.grade.mathematics.lexer import Token
from curate.grade.mathematics.token_reader import TokenReader
from curate.grade.mathematics.trees import Apply, Name, Number, Tree, negative, times
from curate.grade.mathematics.units import unit_of
from curate.grade.mathematics.vocabulary import FUNCTIONS, GREEK, SHORT_WORDS

_DEEPEST = 60
_MOST_QUOTIENTS = 20
_INVERSES = {"\\sin": "\\arcsin", "\\cos": "\\arccos", "\\tan": "\\arctan"}
_CALLED = frozenset("fghFGHPpQq")
"""Letters that name a function if a bracket follows them."""
_CLOSING = {"(": ")", "[": "]", "{": "}", "\\lfloor": "\\rfloor", "\\lceil": "\\rceil"}


class Expressions(TokenReader):
    """Reads expressions from tokens, one after the other."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        super().__init__(tokens)
        self._depth = 0
        self._bars = 0
        self._bracketed = False
        """Whether the last factor was in brackets."""
        self.base: int | None = None
        """The base in which a number was written, if it was not ten."""

    # --- sums, products, powers ---

    def sum(self) -> Tree:
        """Reads a sum."""
        terms: list[Tree] = []
        sign = self.take("+", "-", "\\pm")
        while True:
            term = self._product()
            if sign == "\\pm":
                term = Apply("pm", (term,))
            terms.append(negative(term) if sign == "-" else term)
            sign = self.take("+", "-", "\\pm")
            if sign is None:
                break
        return terms[0] if len(terms) == 1 else Apply("+", tuple(terms))

    def _product(self) -> Tree:
        left = self._power()
        divided = False
        quotients = 0
        while True:
            operator = self.take("*", "/")
            if operator is None and not self._begins_factor():
                return left
            if operator is None and divided:
                raise Unreadable("a product after a slash may be above or below the line")
            minus = operator and self.take("-")
            previous, right = self.peek(-1), self._power()
            if operator is None:
                left = self._beside(left, right, previous)
            else:
                right = negative(right) if minus else right
                left = times(left, right) if operator == "*" else Apply("/", (left, right))
                divided = operator == "/"
                quotients += divided
                if quotients > _MOST_QUOTIENTS:
                    raise Unreadable("it has too many slashes")

    def _beside(self, left: Tree, right: Tree, last: Token | None) -> Tree:
        """A product without a sign, or a mixed number such as 2 1/2."""
        whole = isinstance(left, Number) and left.value.denominator == 1
        match right:
            case _ if self._bracketed:
                return times(left, right)
            case Apply("/", (Number(above), Number(below))) if (
                whole and last and last.kind == "number"
            ):
                if 0 < above < below and above.denominator == below.denominator == 1:
                    return Apply("+", (left, right))
                raise Unreadable("a number beside a fraction is not a mixed number")
            case Number():
                if whole and self.take("/"):
                    return self._beside(left, Apply("/", (right, self._power())), last)
                raise Unreadable("a number follows a factor without a sign between them")
            case _:
                return times(left, right)

    def _begins_factor(self) -> bool:
        token = self.peek()
        if token is None:
            return False
        if token.kind in ("number", "name"):
            return True
        if token.kind == "word":
            return self._is_product(token)
        if token.kind == "symbol":
            return token.text in "([{" or (token.text == "|" and not self._bars)
        if token.text == "\\frac" and self._is_unit_fraction():
            return False
        return token.text in _STARTS

    def _is_unit_fraction(self) -> bool:
        inner = self.peek(2)
        return (
            self.sees("{", ahead=1) and inner is not None and inner.kind == "word" and inner.in_text
        )

    def _is_product(self, token: Token) -> bool:
        """Whether a run of letters is a product of variables."""
        known = token.text.lower() in SHORT_WORDS or unit_of(token.text)
        return not token.in_text and len(token.text) <= 3 and token.text.isascii() and not known

    def _power(self) -> Tree:
        token = self.peek()
        bracketed = self.sees("(", "[", "{")
        base = self._base()
        while True:
            if self.sees("^"):
                if (marked := self._mark(base, token)) is None:
                    base = Apply("^", (base, self._exponent()))
                    if self.sees("^"):
                        raise Unreadable("a power of a power without brackets")
                else:
                    base = marked
            elif self.take("!"):
                base = Apply("!", (base,))
                if self.sees("!"):
                    raise Unreadable("a double factorial has two readings")
            elif self._is_ordinal(self.peek(), token):
                self.at += 1
            elif self.take("%"):
                base = Apply("percent", (base,))
            else:
                self._bracketed = bracketed
                return base

    def _mark(self, base: Tree, token: Token | None) -> Tree | None:
        """Reads `^\\circ` and `^{th}` after a base. Returns None for a power."""
        inner, closing = (2, 1) if self.sees("{", ahead=1) else (1, 0)
        if self.sees("\\circ", ahead=inner) and (not closing or self.sees("}", ahead=3)):
            self.at += 1 + inner + closing
            scale = self.peek()
            if scale and scale.kind in ("name", "word") and scale.text in ("C", "F"):
                self.at += 1
                return Apply(f"degree {scale.text}", (base,))
            return Apply("degree", (base,))
        if self._is_ordinal(self.peek(inner), token) and (not closing or self.sees("}", ahead=3)):
            self.at += 1 + inner + closing
            return base
        return None

    @staticmethod
    def _is_ordinal(mark: Token | None, number: Token | None) -> bool:
        """Whether these are a number and its ending, as in 12th."""
        if not mark or not number or mark.kind != "word" or number.value is None:
            return False
        return mark.text.lower() == ordinal(number.value)

    def _exponent(self) -> Tree:
        self.expect("^")
        minus = self.take("-")
        exponent = self._argument(whole_number=True)
        return negative(exponent) if minus else exponent

    # --- the parts of products ---

    def _base(self) -> Tree:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise Unreadable(f"it is nested more than {_DEEPEST} levels deep")
        base = self._read_base()
        self._depth -= 1
        return base

    def _read_base(self) -> Tree:
        token = self.peek()
        if token is None:
            raise Unreadable("the answer ends too early")
        if token.kind == "number":
            self.at += 1
            assert token.value is not None
            return self._in_base(token.value) if self.sees("_") else Number(token.value)
        if token.kind == "name":
            return self._name()
        if token.kind == "word" and self._is_product(token):
            self.at += 1
            letters: list[Tree] = [Name(letter) for letter in token.text]
            if self.sees("_", "'"):
                raise Unreadable(f"{token.text!r} has an index")
            if self.sees("^"):
                letters[-1] = Apply("^", (letters[-1], self._exponent()))
            return Apply("*", tuple(letters))
        if token.text in ("(", "[", "{"):
            return self._group(token.text)
        if token.kind == "word":
            raise Unreadable(f"the word {token.text[:40]!r} is not understood")
        return self._command()

    def _group(self, opening: str) -> Tree:
        self.expect(opening)
        bars, self._bars = self._bars, 0
        inner = self.sum()
        self._bars = bars
        self.expect(_CLOSING[opening])
        return inner

    def _command(self) -> Tree:
        token = self.peek()
        assert token is not None
        self.at += 1
        if token.text in FUNCTIONS:
            return self._function(token.text)
        match token.text:
            case "\\pi" | "\\infty":
                return Name(token.text)
            case "\\frac":
                return self._fraction()
            case "\\binom":
                return Apply("binom", (self._argument(), self._argument()))
            case "\\sqrt":
                return self._root()
            case "|":
                self._bars += 1
                inner = self.sum()
                self.expect("|")
                self._bars -= 1
                return Apply("abs", (inner,))
            case "\\lfloor" | "\\lceil" as opening:
                inner = self.sum()
                self.expect(_CLOSING[opening])
                return Apply(opening[2:], (inner,))
            case greek if greek in GREEK:
                self.at -= 1
                return self._name()
            case other:
                raise Unreadable(f"{other[:40]!r} is not understood")

    def _name(self) -> Tree:
        token = self.peek()
        assert token is not None
        self.at += 1
        name = token.text
        if self.take("_"):
            name += f"_{{{self._index()}}}"
        while self.take("'"):
            name += "'"
        if self.sees("(") and (name[0] in _CALLED or "'" in name or "/" in name):
            self.at += 1
            arguments = [self.sum()]
            while self.take(","):
                arguments.append(self.sum())
            self.expect(")")
            return Apply(f"call {name}", tuple(arguments))
        return Name(name)

    def _index(self) -> str:
        if not self.take("{"):
            token = self.peek()
            if token is None or token.kind not in ("number", "name", "word"):
                raise Unreadable(f"{self.shown()} is not an index")
            self.at += 1
            return token.text
        parts: list[str] = []
        while not self.take("}"):
            token = self.peek()
            if token is None or token.text == "{":
                raise Unreadable("an index is not closed")
            self.at += 1
            parts.append(token.text)
        return " ".join(parts)

    def _in_base(self, digits: Fraction) -> Tree:
        self.expect("_")
        index = self._index()
        if (
            not re.fullmatch(r"\d{1,2}", index)
            or not 2 <= int(index) <= 36
            or digits.denominator > 1
        ):
            raise Unreadable(f"{index[:40]!r} is not a base")
        try:
            value = int(str(digits), int(index))
        except ValueError as error:
            raise Unreadable(f"{digits} is not a number in base {index}") from error
        self.base = int(index)
        return Number(Fraction(value))

    def _fraction(self) -> Tree:
        if derivative := self._derivative():
            return derivative
        above, below = self._argument(), self._argument()
        return Apply("/", (above, below))

    def _derivative(self) -> Tree | None:
        """Reads `\\frac{dy}{dx}` as a name."""
        text = "".join(token.text for token in self.tokens[self.at : self.at + 16])
        found = _DERIVATIVE.match(text)
        if not found:
            return None
        if not found[3] or found[2] != found[5]:
            raise Unreadable("a derivative is not of one variable by another")
        read = ""
        while len(read) < found.end():
            read += self.tokens[self.at].text
            self.at += 1
        mark, order = found[1].removeprefix("\\"), found[2] or ""
        return Name(f"{mark}{order}{found[3]}/{mark}{found[4]}{order}")

    def _root(self) -> Tree:
        degree: Tree = Number(Fraction(2))
        if self.take("["):
            degree = self.sum()
            self.expect("]")
        return Apply("root", (self._argument(bare_pair=False), degree))

    def _function(self, name: str) -> Tree:
        base: Tree | None = None
        if name == "\\log" and self.take("_"):
            base = self._argument()
        power: Tree | None = self._exponent() if self.sees("^") else None
        if power == Number(Fraction(-1)):
            if name not in _INVERSES:
                raise Unreadable(f"{name} to the power -1 has two readings")
            name, power = _INVERSES[name], None
        argument = self._function_argument()
        value = Apply(name, (argument,) if base is None else (argument, base))
        return Apply("^", (value, power)) if power is not None else value

    def _function_argument(self) -> Tree:
        if self.sees("(", "[", "{"):
            argument = self._power()
            token = self.peek()
            if self._begins_factor() and token and not token.spaced and token.kind != "command":
                raise Unreadable("the end of a function's argument is unclear")
            return argument
        minus = self.take("-")
        factors = [self._power()]
        while self._begins_factor() and not self.sees(*FUNCTIONS, "(", "["):
            factors.append(self._power())
        argument = factors[0] if len(factors) == 1 else Apply("*", tuple(factors))
        if self.sees("/"):
            raise Unreadable("a slash after a function's argument has two readings")
        return negative(argument) if minus else argument

    def _argument(self, *, whole_number: bool = False, bare_pair: bool = True) -> Tree:
        """Reads the argument of a command: a group in braces, or one token.

        Args:
            whole_number: 10^22 is read as 10^{22}. If not, LaTeX takes one digit.
            bare_pair: one digit or letter may be taken from two, as in `\\frac12`.
        """
        token = self.peek()
        if token is None:
            raise Unreadable("an argument is missing")
        if token.kind == "number" and not whole_number and len(token.text) > 1:
            return self._digit(token, bare_pair)
        if token.kind == "word" and not token.in_text:
            if bare_pair and not whole_number and len(token.text) == 2:
                return self._letter(token)
            raise Unreadable(f"{token.text[:40]!r} as an argument has two readings")
        return self._group("(") if whole_number and self.sees("(") else self._base()

    def _letter(self, token: Token) -> Tree:
        """Reads the first of two letters, and leaves the other one."""
        second = Token("name", token.text[1])
        self.tokens = [*self.tokens[: self.at + 1], second, *self.tokens[self.at + 1 :]]
        self.at += 1
        return Name(token.text[0])

    def _digit(self, token: Token, allowed: bool) -> Tree:
        """Reads the first of two digits, and leaves the other one."""
        following = self.peek(1)
        alone = following is None or following.kind != "number"
        if not allowed or len(token.text) != 2 or not token.text.isdecimal() or not alone:
            raise Unreadable(f"{token.text[:40]!r} without braces has two readings")
        second = Token("number", token.text[1], Fraction(int(token.text[1])))
        self.tokens = [*self.tokens[: self.at + 1], second, *self.tokens[self.at + 1 :]]
        self.at += 1
        return Number(Fraction(int(token.text[0])))


_STARTS = (
    FUNCTIONS | GREEK | {"\\pi", "\\infty", "\\frac", "\\sqrt", "\\binom", "\\lfloor", "\\lceil"}
)
_DERIVATIVE = re.compile(
    r"\{(d|\\partial)(?:\^\{?([2-9])\}?)?([a-zA-Z])?\}\{\1([a-zA-Z])(?:\^\{?([2-9])\}?)?\}"
)


def ordinal(number: Fraction) -> str:
    """Returns the ending of an ordinal number: "st" for 1, "th" for 12."""
    if number % 100 in (11, 12, 13):
        return "th"
    return {1: "st", 2: "nd", 3: "rd"}.get(int(number % 10), "th")
