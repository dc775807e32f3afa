"""A parsed formula: outcome, fixed terms and random terms, and how to write them back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ..errors import FormulaError
from ..spec import LevelSpec
from .functions import argument, canonical, check, columns_of, truth
from .lexer import fault
from .nodes import Call, Name, Node, Op, Paren, Sign, Text, children, quote, spine, strip, text, walk
from .parser import parse_tree
from .terms import Expander, Expansion, Term

INTERCEPT = "(Intercept)"
_ARITHMETIC = frozenset({"+", "-", "*", "/", "^", "==", "!=", "<", "<=", ">", ">=", "&", "|", "||"})
_MAX_PARTIAL = 8
_SHAPE = "Write the outcome, then ~, then the predictors: y ~ x + (1 | group)."


@dataclass(frozen=True)
class RandomTerm:
    """Random coefficients of one grouping.

    Attributes:
        groups: the grouping's columns as written: ``("sector", "firm")`` for ``sector:firm`` and for the inner part
            of ``sector/firm``.
        terms: terms with a random coefficient, the intercept first where there is one.
        correlated: False for ``(… || g)``.
    """

    groups: tuple[str, ...]
    terms: tuple[Term, ...]
    correlated: bool


@dataclass(frozen=True)
class Formula:
    """A formula in lme4's notation.

    Attributes:
        text: the whole formula with normalised spaces.
        outcome: expression of the outcome.
        intercept: whether there is a fixed intercept.
        terms: fixed terms in R's order, without the intercept.
        random: random terms as written, ``a/b`` split in two.
        variables: all variables of the right-hand side, in the order of appearance.
        fixed_text: the right-hand side without its random parts, as written.
        notes: what a reader should know, for example that x^2 is just x.
        source, where: the text that was parsed and the config key it came from, for messages.
    """

    text: str
    outcome: Node
    intercept: bool
    terms: tuple[Term, ...]
    random: tuple[RandomTerm, ...]
    variables: tuple[Node, ...]
    fixed_text: str
    notes: tuple[str, ...] = ()
    source: str = field(default="", repr=False)
    where: str = field(default="formula", repr=False)

    @property
    def outcome_name(self) -> str:
        return text(strip(self.outcome))

    @property
    def grouping_columns(self) -> tuple[str, ...]:
        """Every grouping column, in the order of appearance."""
        return tuple(dict.fromkeys(c for r in self.random for c in r.groups))

    def fault(self, node: Node | None, what: str, do: str = "") -> FormulaError:
        """A refusal that points at a node of this formula."""
        if node is None:
            return FormulaError(what, self.where, do)
        return fault(self.source, node.pos, what, self.where, do)

    def rung_text(
        self,
        fixed: str | Sequence[str] | None,
        random: Sequence[LevelSpec],
        terms: Mapping[str, str] | None = None,
        groups: Sequence[str] | None = None,
    ) -> str:
        """A rung of the ladder in lme4's notation.

        Args:
            fixed: the fixed part: text, names of columns, or None for this formula's own.
            random: random coefficients by level.
            terms: the term each column belongs to (``{"f[b]": "f"}``, as in ``Frame.info["terms"]``); columns that
                are not listed stand for themselves.
            groups: grouping columns outermost first, where their names contain a slash.
        """
        if fixed is None:
            fixed = self.fixed_text
        elif not isinstance(fixed, str):
            fixed = sum_text(fixed, terms or {})
        parts = [fixed, *_random_text(random, terms or {}, groups)]
        return f"{text(self.outcome)} ~ " + " + ".join(parts)


def parse(source: str, where: str = "formula") -> Formula:
    """Read a formula.

    Args:
        source: for example ``log(emp) ~ log(wage) + C(year) + (1 + log(wage) | sector/firm)``.
        where: the config key it comes from, for messages.

    Raises:
        FormulaError: it breaks the grammar, calls an unknown function, or has no outcome.
    """
    if not isinstance(source, str):
        raise FormulaError(f"The formula is {source!r}, not text.", where, "Write for example y ~ x + (1 | group).")
    if source.lstrip().startswith("~"):
        raise fault(source, source.index("~"), "The formula has no outcome.", where, _SHAPE)
    tree = parse_tree(source, where)
    tildes = [n for n in walk(tree) if isinstance(n, Op) and n.op == "~"]
    if not tildes:
        raise fault(source, 0, "The formula has no ~.", where, _SHAPE)
    if len(tildes) > 1 or tildes[0] is not tree:
        raise fault(source, max(t.pos for t in tildes), "A formula has one ~, outside all parentheses.", where)
    assert isinstance(tree, Op)

    def at(node: Node, what: str, do: str = "") -> FormulaError:
        return fault(source, node.pos, what, where, do)

    for node in walk(tree):
        if isinstance(node, Call):
            check(node, at)
    expander = Expander(at)
    fixed = expander.expand(tree.right)
    random = [r for bar in fixed.bars for r in _random_terms(bar, expander, at)]
    outcome = strip(tree.left)
    if text(outcome) in expander.variables:
        raise at(expander.variables[text(outcome)], "The outcome cannot predict itself.")
    check_arithmetic(outcome, at)
    _check_depth(outcome, at)
    for variable in expander.variables.values():
        check_variable(variable, at)
    intercept = fixed.intercept is not False
    place = {name: i for i, name in enumerate(expander.variables)}
    return Formula(
        text=text(tree),
        outcome=outcome,
        intercept=intercept,
        terms=expander.ordered(fixed.terms),
        random=tuple(
            RandomTerm(groups, _with_intercept(inner, expander), correlated) for groups, inner, correlated in random
        ),
        variables=tuple(sorted(expander.variables.values(), key=lambda v: place[text(v)])),
        fixed_text=_fixed_text(tree.right),
        notes=tuple(dict.fromkeys(expander.notes)),
        source=source,
        where=where,
    )


def _with_intercept(inner: Expansion, expander: Expander) -> tuple[Term, ...]:
    head = () if inner.intercept is False else (Term(()),)
    return head + expander.ordered(inner.terms)


def _random_terms(bar: Op, expander: Expander, at) -> Iterator[tuple[tuple[str, ...], Expansion, bool]]:
    left = strip(bar.left)
    if isinstance(left, Op) and left.op in ("|", "||"):
        raise at(bar, "A random term has one bar.")
    inner = expander.expand(bar.left)
    if inner.bars:
        raise at(inner.bars[0], "A random term cannot hold another one.")
    if inner.intercept is False and not inner.terms:
        raise at(bar, "This random term is empty.", "Write (1 | group) or (0 + x | group).")
    for groups in _groupings(bar.right, at):
        yield groups, inner, bar.op == "|"


def _groupings(node: Node, at) -> list[tuple[str, ...]]:
    """The groupings of the right side of a bar: ``a/b`` is a, and b within a."""
    node = strip(node)
    if isinstance(node, Op) and node.op == "/":
        outer = _groupings(node.left, at)
        return outer + [outer[-1] + tuple(c for c in g if c not in outer[-1]) for g in _groupings(node.right, at)]
    found = columns_of(node)
    if found is not None:
        return [found]
    if isinstance(node, Op) and node.op in ("+", "*"):
        raise at(node, f"Groups cannot be joined with {node.op}.", "Write a/b for b within a, or one term for each.")
    if isinstance(node, Op) and node.op in ("|", "||"):
        raise at(node, "A random term has one bar.")
    raise at(node, f"{text(node)} is not a grouping.", "Write a column, a/b (b within a) or a:b.")


def check_variable(node: Node, at) -> None:
    """Refuse a variable that is not made of columns, arithmetic and known functions."""
    if isinstance(node, Call) and canonical(node.function) in ("C", "poly"):
        check_arithmetic(node.args[0], at)
        if canonical(node.function) == "poly" and argument(node, "degree") is None:
            raise at(node, "poly() needs a degree.", "It is written poly(x, 2).")
    else:
        check_arithmetic(node, at)
    _check_depth(node, at)


def _check_depth(node: Node, at) -> None:
    if _partial(node) > _MAX_PARTIAL:
        do = "Compute the column beforehand."
        raise at(node, f"More than {_MAX_PARTIAL} logarithms, roots or quotients stand inside each other.", do)


def _partial(node: Node) -> int:
    """How many functions that are undefined somewhere stand inside each other: each makes the SQL twice as long."""
    node = strip(node)
    if isinstance(node, Op) and node.op in ("+", "-", "*", "/"):
        first, rest = spine(node)
        return max(_partial(first), *(_partial(op.right) + (op.op == "/") for op in rest))
    deepest = max((_partial(child) for child in children(node)), default=0)
    return deepest + (isinstance(node, Call) and node.function in ("log", "log2", "log10", "log1p", "sqrt"))


def check_arithmetic(node: Node, at) -> None:
    """Refuse what has no value in arithmetic: strings outside comparisons, ``:``, coding functions."""
    node = strip(node)
    match node:
        case Text():
            raise at(node, f"{text(node)} is a string, not a number.", "Put column names in `backticks`.")
        case Name(name="."):
            raise at(node, "The dot (all other columns) is not supported.", "Name the columns.")
        case Name() if truth(node) is not None and node.name not in ("T", "F"):
            raise at(node, f"{node.name} is not a column.")
        case Call():
            name = canonical(node.function)
            if name in ("C", "poly"):
                raise at(node, f"{node.function}() gives several columns and cannot be used inside arithmetic.")
            check_arithmetic(node.args[0], at)
        case Sign(operand=operand):
            check_arithmetic(operand, at)
        case Op(op=op):
            if op not in _ARITHMETIC:
                raise at(node, f"{op} has no meaning inside arithmetic.")
            comparison = op in ("==", "!=", "<", "<=", ">", ">=")
            for side in _sides(node):
                if not (comparison and isinstance(strip(side), Text)):
                    check_arithmetic(side, at)


def _sides(node: Op) -> list[Node]:
    """Operands of a chain of operators, without recursion along it."""
    out: list[Node] = []
    at: Node = node
    while isinstance(at, Op) and at.op in ("+", "-", "*", "/"):
        out.append(at.right)
        at = at.left
    if isinstance(at, Op) and at is node:
        return [node.left, node.right]
    return [*out, at]


def _fixed_text(node: Node) -> str:
    """The text of a right-hand side without its random terms."""
    parts: list[tuple[str, str]] = []
    at = node
    while isinstance(at, Op) and at.op in "+-":
        parts.append((at.op, "" if _is_random(at.right) else text(at.right)))
        at = at.left
    parts.append(("+", "" if _is_random(at) else text(at)))
    out = ""
    for op, part in reversed(parts):
        if part:
            out = f"{out} {op} {part}" if out else (part if op == "+" else f"-{part}")
    return out or "1"


def _is_random(node: Node) -> bool:
    inner = strip(node)
    return isinstance(node, Paren) and isinstance(inner, Op) and inner.op in ("|", "||")


def sum_text(columns: Sequence[str], terms: Mapping[str, str]) -> str:
    """Columns as a sum of terms: ``1 + x``, ``0 + x``; the 1 is left out where terms follow in a fixed part."""
    names = list(dict.fromkeys(terms.get(c, c) for c in columns if c != INTERCEPT))
    if INTERCEPT not in columns:
        names.insert(0, "0")
    return " + ".join(names) or "1"


def _random_text(random: Sequence[LevelSpec], terms: Mapping[str, str], groups: Sequence[str] | None) -> Iterator[str]:
    specs = [s for s in random if s.blocks]
    while specs:
        spec = specs.pop(0)
        path = _path(spec.level, groups)
        grouping = ":".join(quote(c) for c in path)
        # Neighbouring levels with the same coefficients are written a/b, as people do.
        if len(path) == 1:
            last = spec
            while specs and specs[0].blocks == spec.blocks and len(_path(specs[0].level, groups)) == len(path) + 1:
                last = specs.pop(0)
                path = _path(last.level, groups)
            grouping = "/".join(quote(c) for c in path)
        for columns, bar in _blocks(spec.blocks):
            inner = sum_text(columns, terms)
            if INTERCEPT in columns and inner != "1":
                inner = "1 + " + inner
            yield f"({inner} {bar} {grouping})"


def _blocks(blocks: tuple[tuple[str, ...], ...]) -> list[tuple[tuple[str, ...], str]]:
    """Blocks as random terms: independent single coefficients with an intercept as one ``||`` term."""
    if len(blocks) > 1 and all(len(b) == 1 for b in blocks) and blocks[0] == (INTERCEPT,):
        return [(tuple(b[0] for b in blocks), "||")]
    return [(b, "|") for b in blocks]


def _path(level: str, groups: Sequence[str] | None) -> list[str]:
    if groups:
        for depth in range(1, len(groups) + 1):
            if "/".join(groups[:depth]) == level:
                return list(groups[:depth])
    return level.split("/")
