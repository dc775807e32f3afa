"""Whatever is typed as a formula is either understood or refused with a message; it never ends in a traceback."""

from __future__ import annotations

import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hierreport.errors import HierreportError
from hierreport.formula import parse, text
from hierreport.formula.nodes import Call, Name, Number, Op, Paren, Sign, Text
from hierreport.formula.parser import parse_tree
from hierreport.ingest import build_frame
from hierreport.source import open_source

WORDS = """x z IQ.verb `a` f h ok code sector firm year y day empty inf x2 log( exp( I( C( scale( poly( lag( diff(
mean( within( by= ref= raw=TRUE 'lo' " ` 0 1 2 -1 1e5 .5 + - * / ^ : ( ) , | || ~ == < >= ! & (1|firm) (x|sector/firm)
"""
PIECES = st.sampled_from([*WORDS.split(), " ", "\n"])
FUNCTION_WORDS = "log log10 sqrt exp abs I log1p scale center mean within lag diff C"
ATOM_WORDS = "x z IQ.verb code year f ok day inf empty 2 0 0.5 'lo' 1e9"
RANDOM_WORDS = "(1|firm) (1|sector) (x|firm) (0+x|sector/firm) (1|f) (z||firm) (1|firm)+(1|sector) (f|sector) (1|year)"
OPERATORS = [*"+-*/:^|&~", "==", "<=", "||"]


def numbers():
    return st.floats(0, 1e9, allow_nan=False).map(lambda v: Number(float(f"{v:g}"), f"{float(f'{v:g}')!r}"))


def nodes():
    """Trees whose text is unambiguous: operands of operators are atoms or in parentheses."""
    atoms = st.one_of(st.text(min_size=1, max_size=6).map(Name), numbers(), st.text(max_size=5).map(Text))

    def grow(inner):
        atom = st.one_of(atoms, inner.map(Paren))
        call = st.builds(lambda f, a: Call(f, tuple(a)), st.sampled_from(["log", "foo"]), st.lists(inner, max_size=3))
        return st.one_of(
            inner.map(Paren),
            st.builds(Op, st.sampled_from(OPERATORS), atom, atom),
            st.builds(Sign, st.sampled_from("+-!"), atom),
            call,
            st.builds(lambda a, k, v: Call("mean", (a,), ((k, v),)), inner, st.sampled_from(["by", "ref"]), inner),
        )

    return st.recursive(atoms, grow, max_leaves=12)


@given(nodes())
def test_the_text_of_a_tree_parses_to_the_tree(node):
    assert parse_tree(text(node)) == node
    assert text(parse_tree(text(node))) == text(node)


@given(st.one_of(st.text(max_size=60), st.lists(PIECES, max_size=12).map("".join)))
@settings(max_examples=400)
def test_any_text_is_parsed_or_refused(source):
    for candidate in (source, "y ~ " + source):
        try:
            formula = parse(candidate)
        except HierreportError as error:
            assert str(error).startswith("formula: ")
        else:
            assert parse(formula.text).text == formula.text
            assert parse(formula.text).terms == formula.terms


@pytest.fixture(scope="module")
def messy(tmp_path_factory):
    """A small panel with every kind of column: missing, infinite and empty values, text, truth values, dates."""
    rows = ["sector,firm,year,day,y,x,z,IQ.verb,a b,f,h,ok,code,empty,inf"]
    for i in range(40):
        x = "" if i == 7 else f"{math.sin(i) * 3 + 2:.3f}"
        f = "" if i == 9 else ["lo", "mid", "hi"][i % 3]
        values = [f"s{i // 20}", f"f{i // 5}", 2000 + i % 5, f"2020-01-{1 + i % 5:02d}", f"{math.cos(i * i):.4f}", x]
        values += [i % 4 - 1, i * 0.5, i % 3 + 1, f, "u" if i % 2 else "v", i % 3 > 0, i % 4, ""]
        rows.append(",".join(map(str, [*values, "inf" if i == 3 else 1.5 * i])))
    path = tmp_path_factory.mktemp("fuzz") / "messy.csv"
    path.write_text("\n".join(rows) + "\n")
    return open_source(path)


def bigger(e):
    """Expressions made of expressions."""
    by = st.tuples(e, st.sampled_from(["sector", "sector/firm", "f", "year"]))
    return st.one_of(
        st.builds(lambda f, a: f"{f}({a})", st.sampled_from(FUNCTION_WORDS.split()), e),
        st.builds(lambda a, o, b: f"({a} {o} {b})", e, st.sampled_from([*"+-*/^>&|", "=="]), e),
        st.builds(lambda f, b: f"{f}({b[0]}, by={b[1]})", st.sampled_from(["mean", "within"]), by),
        e.map(lambda a: f"-{a}"),
        st.builds(lambda a, d: f"poly({a}, {d})", e, st.integers(1, 6)),
    )


ATOMS = st.sampled_from([*ATOM_WORDS.split(), "`a b`"])
ARITHMETIC = st.recursive(ATOMS, bigger, max_leaves=4)
TERM = st.one_of(
    ARITHMETIC,
    ARITHMETIC.map(lambda a: f"I({a})"),
    st.sampled_from(["f*x", "f:h", "C(code)", "0", "-1", "x:z", "(x + f)^2", "C(f, ref='mid')", "ok", "f/x"]),
)
RANDOM = st.sampled_from(RANDOM_WORDS.split())


@given(
    st.lists(TERM, min_size=1, max_size=3),
    st.lists(RANDOM, max_size=2),
    st.sampled_from(["y", "log(x)", "f", "ok", "year"]),
    st.booleans(),
)
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_formula_on_a_messy_panel_gives_a_frame_or_a_refusal(messy, terms, random, outcome, timed):
    formula = f"{outcome} ~ " + " + ".join([*terms, *random])
    try:
        frame = build_frame(messy, formula, time="year" if timed else None)
    except HierreportError as error:
        assert len(str(error)) > 20
        return
    columns = [*frame.columns, frame.outcome]
    tests = [f"count({c.sql})" for c in columns] + [f"bool_and(isfinite({c.sql}))" for c in columns]
    found = frame.con.execute(f"SELECT count(*), {', '.join(tests)} FROM {frame.table}").fetchone()
    assert found[0] == frame.info["n_obs"] > 0
    assert set(found[1 : len(columns) + 1]) == {found[0]}
    assert all(found[len(columns) + 1 :])
    assert frame.info["rows_read"] == 40 == frame.info["n_obs"] + frame.info["rows_dropped"]
    assert set(frame.means) == {c.name for c in columns} == set(frame.sds)
