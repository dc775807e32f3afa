"""Reading formulas: precedence, the algebra of terms, random terms, names, messages."""

from __future__ import annotations

import pytest

from hierreport.errors import FormulaError
from hierreport.formula import parse, text
from hierreport.formula.nodes import Op, Sign
from hierreport.formula.parser import parse_tree
from hierreport.spec import LevelSpec


def names(terms) -> list[str]:
    return [t.name for t in terms]


@pytest.mark.parametrize(
    ("source", "grouped"),
    [
        ("a + b * c", "(a + (b * c))"),
        ("a - b - c", "((a - b) - c)"),
        ("a / b / c", "((a/b)/c)"),
        ("a ^ b ^ c", "(a^(b^c))"),
        ("-a ^ b", "-((a^b))"),
        ("-a:b", "(-(a):b)"),
        ("a * b:c", "(a * (b:c))"),
        ("a + b > c + d", "((a + b) > (c + d))"),
        ("!a > b", "!((a > b))"),
        ("a > b & c < d | e", "(((a > b) & (c < d)) | e)"),
        ("y ~ a + b | g", "(y ~ ((a + b) | g))"),
        ("2 ^ -1", "(2^-(1))"),
        ("a ** b", "(a^b)"),
    ],
)
def test_operators_bind_as_in_r(source, grouped):
    def show(node):
        if isinstance(node, Op):
            space = "" if node.op in "^:/" else " "
            return f"({show(node.left)}{space}{node.op}{space}{show(node.right)})"
        if isinstance(node, Sign):
            return f"{node.op}({show(node.operand)})"
        return text(node)

    assert show(parse_tree(source)) == grouped


@pytest.mark.parametrize(
    ("source", "normal"),
    [
        ("y~x+I( x^2 )", "y ~ x + I(x^2)"),
        ("y ~ I(x*z)+I(x / z)", "y ~ I(x * z) + I(x/z)"),
        ("y ~ C( f,ref = \"b\" )", "y ~ C(f, ref='b')"),
        ("y ~ `a b` + `x` + `1st`", "y ~ `a b` + x + `1st`"),
        ("y ~ mean(x,by = sector / firm)", "y ~ mean(x, by=sector/firm)"),
        ("y ~ lag(x,2)\n  + (1+x|sector / firm)", "y ~ lag(x, 2) + (1 + x | sector/firm)"),
        ("y ~ IQ.verb + .hidden + _low + größe", "y ~ IQ.verb + .hidden + _low + größe"),
        ("y ~ poly(x, 2, raw = TRUE)", "y ~ poly(x, 2, raw=TRUE)"),
        ("y ~ 1e3*x - .5 + 2L", None),
    ],
)  # fmt: skip
def test_text_has_normal_spaces(source, normal):
    if normal is None:
        with pytest.raises(FormulaError, match="is not a term"):
            parse(source)
        return
    formula = parse(source)
    assert formula.text == normal
    assert parse(normal).text == normal


@pytest.mark.parametrize(
    ("source", "intercept", "terms"),
    [
        ("1", True, []),
        ("0", False, []),
        ("x", True, ["x"]),
        ("x + 0", False, ["x"]),
        ("x - 1", False, ["x"]),
        ("-1 + x", False, ["x"]),
        ("x + -1", False, ["x"]),
        ("x - 1 + 1", True, ["x"]),
        ("x - 0", True, ["x"]),
        ("a * b", True, ["a", "b", "a:b"]),
        ("b:a + a", True, ["a", "b:a"]),
        ("a + b + b:a", True, ["a", "b", "a:b"]),
        ("a:b + c + a", True, ["c", "a", "a:b"]),
        ("(a + b + c)^2", True, ["a", "b", "c", "a:b", "a:c", "b:c"]),
        ("(a + b + c)^3 - a:b:c", True, ["a", "b", "c", "a:b", "a:c", "b:c"]),
        ("(a + b)^9", True, ["a", "b", "a:b"]),
        ("a * b * c - a:b:c - b", True, ["a", "c", "a:b", "a:c", "b:c"]),
        ("a / b", True, ["a", "a:b"]),
        ("a / b / c", True, ["a", "a:b", "a:b:c"]),
        ("(a + b) / c", True, ["a", "b", "a:b:c"]),
        ("a / (b + c)", True, ["a", "a:b", "a:c"]),
        ("(a + b):(c + d)", True, ["a:c", "a:d", "b:c", "b:d"]),
        ("a + a + (a)", True, ["a"]),
        ("a:a", True, ["a"]),
        ("(a + b) - (b + c)", True, ["a"]),
        ("log(x) + log( x )", True, ["log(x)"]),
        ("x > 2", True, ["x > 2"]),
    ],
)
def test_terms_expand_as_in_r(source, intercept, terms):
    formula = parse(f"y ~ {source}")
    assert (formula.intercept, names(formula.terms)) == (intercept, terms)


@pytest.mark.parametrize(
    ("source", "random"),
    [
        ("(1 | g)", [(("g",), ["(Intercept)"], True)]),
        ("(x | g)", [(("g",), ["(Intercept)", "x"], True)]),
        ("(0 + x | g)", [(("g",), ["x"], True)]),
        ("(x - 1 | g)", [(("g",), ["x"], True)]),
        ("(x || g)", [(("g",), ["(Intercept)", "x"], False)]),
        ("(1 | a/b)", [(("a",), ["(Intercept)"], True), (("a", "b"), ["(Intercept)"], True)]),
        (
            "(x | a/b/c)",
            [(g, ["(Intercept)", "x"], True) for g in [("a",), ("a", "b"), ("a", "b", "c")]],
        ),
        ("(1 | a:b)", [(("a", "b"), ["(Intercept)"], True)]),
        ("(1 | a:b/c)", [(("a", "b"), ["(Intercept)"], True), (("a", "b", "c"), ["(Intercept)"], True)]),
        ("(1 | a) + (0 + x | a)", [(("a",), ["(Intercept)"], True), (("a",), ["x"], True)]),
        ("(1 | factor(g))", [(("g",), ["(Intercept)"], True)]),
        ("(a * log(x) | g)", [(("g",), ["(Intercept)", "a", "log(x)", "a:log(x)"], True)]),
        ("x + ((1 | g))", [(("g",), ["(Intercept)"], True)]),
    ],
)
def test_random_terms(source, random):
    formula = parse(f"y ~ z + {source}")
    assert [(r.groups, names(r.terms), r.correlated) for r in formula.random] == random
    assert names(formula.terms)[0] == "z"


def test_interactions_have_one_name_everywhere():
    """A column is the same in the fixed and the random part, however the term is written there."""
    formula = parse("y ~ x:f + (f:x | g)")
    assert names(formula.terms) == ["x:f"]
    assert names(formula.random[0].terms) == ["(Intercept)", "x:f"]


def test_a_square_without_i_is_noted():
    assert "I(x^2)" in parse("y ~ x^2").notes[0]
    assert parse("y ~ (x + z)^2").notes == ()


def test_long_sums_do_not_recurse():
    formula = parse("y ~ " + " + ".join(f"x{i}" for i in range(3000)))
    assert len(formula.terms) == 3000
    assert parse(formula.text).fixed_text == formula.fixed_text


@pytest.mark.parametrize(
    ("source", "at", "what"),
    [
        ("", 0, "is empty"),
        ("y", 0, "has no ~"),
        ("~ x", 0, "no outcome"),
        ("y ~", 3, "ends too early"),
        ("y ~ x +", 7, "ends too early"),
        ("y ~ (x", 4, "never closed"),
        ("y ~ x)", 5, "Unexpected )"),
        ("y ~ x z", 6, "Unexpected z"),
        ("y ~ x ~ z", 6, "one ~"),
        ("y ~ I(x ~ z)", 8, "one ~"),
        ("y ~ x; z", 5, "cannot contain ';'"),
        ("y ~ x$z", 5, "cannot contain '$'"),
        ("y ~ `a", 4, "never closed"),
        ("y ~ C(f, ref='b)", 13, "never closed"),
        ("y ~ ``", 4, "is empty"),
        ("y ~ x + 1 | g", 10, "needs parentheses"),
        ("y ~ x - (1 | g)", 11, "cannot be subtracted"),
        ("y ~ x * (1 | g)", 11, "on its own"),
        ("y ~ (1 | a + b)", 11, "cannot be joined with +"),
        ("y ~ (1 | a * b)", 11, "cannot be joined with *"),
        ("y ~ (1 | log(g))", 9, "is not a grouping"),
        ("y ~ (1 | 2)", 9, "is not a grouping"),
        ("y ~ (0 | g)", 7, "is empty"),
        ("y ~ (x | g | h)", 11, "one bar"),
        ("y ~ 2 * x", 4, "2 is not a term"),
        ("y ~ x / 100", 8, "100 is not a term"),
        ("y ~ x + 5", 8, "5 is not a term"),
        ("y ~ .", 4, "dot"),
        ("y ~ 'x'", 4, "is a string"),
        ("y ~ (a + b)^x", 12, "whole number"),
        ("y ~ y + x", 4, "cannot predict itself"),
        ("y ~ foo(x)", 4, "foo() is not known"),
        ("y ~ logg(x)", 4, "logg() is not known. Did you mean log()?"),
        ("y ~ ln(x)", 4, "natural logarithm"),
        ("y ~ log()", 4, "needs an argument"),
        ("y ~ log(x, 2)", 11, "takes no argument 2"),
        ("y ~ log(x, base=2)", 16, "takes no argument base="),
        ("y ~ C(f, 'b')", 9, "takes no argument 'b'"),
        ("y ~ C(f, ref=g)", 13, "takes a level"),
        ("y ~ log(C(f))", 8, "several columns"),
        ("y ~ I(poly(x, 2))", 6, "several columns"),
        ("y ~ poly(x)", 4, "needs a degree"),
        ("y ~ poly(x, 0)", 12, "from 1 to 20"),
        ("y ~ poly(x, 2, raw=3)", 19, "TRUE or FALSE"),
        ("y ~ poly(x, 2, degree=2)", 22, "given twice"),
        ("y ~ lag(x, 0)", 11, "at least 1"),
        ("y ~ lag(x, 1.5)", 11, "at least 1"),
        ("y ~ lag(x, z)", 11, "at least 1"),
        ("y ~ diff(x, -1)", 12, "at least 1"),
        ("y ~ mean(x, by=log(g))", 15, "takes a column"),
        ("y ~ mean(x, g)", 12, "takes no argument g"),
        ("y ~ mean(by=g, x)", 15, "cannot follow a named one"),
        ("y ~ mean(x, by=g, by=h)", 18, "given twice"),
        ("y ~ log(x,)", 9, "missing after this comma"),
        ("y ~ I(x:z)", 7, "no meaning inside arithmetic"),
        ("y ~ I(x + 'a')", 10, "is a string"),
        ("y ~ I(1 < x < 2)", 12, "cannot be chained"),
        ("y ~ 1e999*x", 4, "too large"),
        ("cbind(a, b) ~ x", 0, "One outcome"),
        ("y ~ offset(x)", 4, "offset"),
        ("poly(y, 2) ~ x", 0, "several columns"),
        ("C(y) ~ x", 0, "several columns"),
        ("y ~ " + "log(" * 9 + "x" + ")" * 9, 4, "More than 8"),
        ("y ~ I(" + "x/(" * 9 + "x" + ")" * 9 + ")", 4, "More than 8"),
        ("y ~ I(" + "x & " * 60 + "x)", 208, "More than 50"),
    ],
)
def test_faults_are_pointed_at(source, at, what):
    with pytest.raises(FormulaError) as refused:
        parse(source, "analyses.mine.formula")
    message = str(refused.value)
    assert message.startswith("analyses.mine.formula: ")
    assert what in message
    if at is not None and source:
        shown, caret = (line[4:] for line in message.splitlines()[-2:])
        if "…" not in shown:
            assert shown == source
            assert caret.index("^") == at
        else:  # a window of a long formula
            assert shown.strip("…")[caret.index("^") - shown.startswith("…") :].startswith(source[at : at + 3])


def test_the_caret_finds_its_line():
    with pytest.raises(FormulaError) as refused:
        parse("y ~ x\n  + foo(z)\n  + (1 | g)")
    assert str(refused.value).splitlines()[-2:] == ["      + foo(z)", "        ^"]


def test_deep_nesting_and_huge_formulas_are_refused():
    for source in (
        "y ~ " + "(" * 5000,
        "y ~ " + "-" * 5000 + "x",
        "y ~ " + "log(" * 500 + "x",
        "y ~ x" + " " * 200_000,
    ):
        with pytest.raises(FormulaError, match=r"nested too deeply|characters"):
            parse(source)
    with pytest.raises(FormulaError, match="more than 5000 terms"):
        parse("y ~ (" + " + ".join(f"x{i}" for i in range(200)) + ")^3")


def test_not_text():
    with pytest.raises(FormulaError, match="not text"):
        parse(None)  # type: ignore[arg-type]


ONE, SLOPE = ("(Intercept)",), ("(Intercept)", "log(x)")


@pytest.mark.parametrize(
    ("random", "expected"),
    [
        ((), ""),
        ((LevelSpec("sector/firm", (ONE,)),), " + (1 | sector:firm)"),
        ((LevelSpec("firm", (ONE,)),), " + (1 | firm)"),
        ((LevelSpec("sector", (ONE,)), LevelSpec("sector/firm", (ONE,))), " + (1 | sector/firm)"),
        (
            (LevelSpec("sector", (ONE,)), LevelSpec("sector/firm", (SLOPE,))),
            " + (1 | sector) + (1 + log(x) | sector:firm)",
        ),
        ((LevelSpec("sector", (SLOPE,)), LevelSpec("sector/firm", (SLOPE,))), " + (1 + log(x) | sector/firm)"),
        ((LevelSpec("firm", (ONE, ("log(x)",))),), " + (1 + log(x) || firm)"),
        ((LevelSpec("firm", (("log(x)",),)),), " + (0 + log(x) | firm)"),
        ((LevelSpec("firm", (("(Intercept)", "f[b]", "f[c]"),)),), " + (1 + f | firm)"),
        (
            (LevelSpec("firm", (("(Intercept)", "f[b]", "f[c]"), ("log(x)",))),),
            " + (1 + f | firm) + (0 + log(x) | firm)",
        ),
        (tuple(LevelSpec(p, (ONE,)) for p in ("a", "a/b", "a/b/c")), " + (1 | a/b/c)"),
    ],
)
def test_a_rung_is_written_back(random, expected):
    formula = parse("log(y) ~ log(x) + f - 1 + (1 + log(x) | sector/firm)")
    terms = {"f[b]": "f", "f[c]": "f"}
    assert formula.rung_text(None, random, terms) == "log(y) ~ log(x) + f - 1" + expected
    fixed = ("(Intercept)", "log(x)", "f[b]", "f[c]")
    assert formula.rung_text(fixed, random, terms) == "log(y) ~ log(x) + f" + expected
    assert formula.rung_text("1", random, terms) == "log(y) ~ 1" + expected
    again = parse(formula.rung_text(None, random, terms))
    assert len(again.random) == sum(len(s.blocks) if "||" not in expected else 1 for s in random)


def test_a_rung_with_unusual_group_names():
    formula = parse("y ~ x + (1 | `a/b`/`c d`)")
    spec = (LevelSpec("a/b", (ONE,)), LevelSpec("a/b/c d", (SLOPE,)))
    written = formula.rung_text(None, spec, {}, ["a/b", "c d"])
    assert written == "y ~ x + (1 | `a/b`) + (1 + log(x) | `a/b`:`c d`)"
