"""Grammar of the conditions in the headers of rules; `jwcal.refs.expression` evaluates them."""

from jwcal.core.errors import ReferenceFileError
from jwcal.refs.mapping import Parser

_COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")
_WORDS = {"and", "or", "not", "in", "if", "else", "is"}


def parse(source, label):
    """Parse a condition.

    Parameters
    ----------
    source : str
        Text such as ``(META_EXPOSURE_TYPE not in ("MIR_IMAGE", "NRC_IMAGE"))``.
    label : str
        Name for messages.

    Returns
    -------
    list
        Nested lists that `jwcal.refs.expression.evaluate` takes: an operation and its operands;
        JSON keeps them.

    Raises
    ------
    ReferenceFileError
        If it is no condition.
    """
    parser = _Conditions(source, label)
    tree = parser.choice()
    parser.expect("end")
    return tree


class _Conditions(Parser):
    """Grammar of conditions on top of that of values."""

    def wrong(self, what, place=None):
        return ReferenceFileError(f"{self.label}: condition {self.source!r} {what}")

    def word(self, name):
        """Whether the token is a word of the grammar, which is then passed."""
        if self.kind == "name" and self.text == name:
            self.next()
            return True
        return False

    def choice(self):
        self.deep += 1
        if self.deep > 60:
            raise self.wrong("is nested too deeply")
        first = self.either()
        if self.word("if"):
            condition = self.either()
            if not self.word("else"):
                raise self.wrong("has an if without an else")
            first = ["if", condition, first, self.choice()]
        self.deep -= 1
        return first

    def either(self):
        parts = [self.both()]
        while self.word("or"):
            parts.append(self.both())
        return parts[0] if len(parts) == 1 else ["or", parts]

    def both(self):
        parts = [self.negated()]
        while self.word("and"):
            parts.append(self.negated())
        return parts[0] if len(parts) == 1 else ["and", parts]

    def negated(self):
        turns = 0
        while self.word("not"):
            turns += 1
        tree = self.comparison()
        for _ in range(turns):
            tree = ["not", tree]
        return tree

    def comparison(self):
        operands, operators = [self.operand()], []
        while True:
            if self.kind == "op" and self.text in _COMPARISONS:
                operators.append(self.text)
                self.next()
            elif self.word("in"):
                operators.append("in")
            elif self.word("not"):
                if not self.word("in"):
                    raise self.wrong("has a not where an operator belongs")
                operators.append("not in")
            else:
                break
            operands.append(self.operand())
        return ["compare", operators, operands] if operators else operands[0]

    def operand(self):
        if self.kind == "string":
            return ["value", self.string()]
        if self.take("-"):
            return ["-", self.operand()]
        if self.kind == "name":
            text = self.text
            if text in _WORDS:
                raise self.wrong(f"has {text!r} where a value belongs")
            self.next()
            if self.at("(", "[", "."):
                raise self.wrong(f"calls or takes apart {text!r}; it can only compare")
            constants = {"None": None, "True": True, "False": False}
            return ["value", constants[text]] if text in constants else ["name", text]
        if self.kind == "number":
            text = self.text
            self.next()
            return ["value", self.number(text)]
        if self.take("["):
            return ["list", self.parts("]")[0]]
        self.expect("(")
        parts, comma = self.parts(")")
        return parts[0] if len(parts) == 1 and not comma else ["tuple", parts]

    def parts(self, end):
        parts, comma = [], False
        while not self.take(end):
            parts.append(self.choice())
            if not self.take(","):
                self.expect(end)
                break
            comma = True
        return parts, comma
