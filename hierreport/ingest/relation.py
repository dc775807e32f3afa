"""The query behind a model frame: typed columns of the source, values of other rows, the formula's expressions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hierreport.errors import DataError, FormulaError
from hierreport.formula import Call, Formula, Name, Node, Op, strip, text, walk
from hierreport.formula.functions import argument, canonical, columns_of, whole
from hierreport.formula.nodes import children

from .kinds import FLOATING, base_type, kind_of, spoken
from .names import column_type, day_text, identifier
from .sql import Arithmetic, Guard, Value, column, number, render

if TYPE_CHECKING:
    from hierreport.source import Source

    from .timeaxis import TimeAxis

SAMPLE_FUNCTIONS = ("mean", "within", "scale", "center")


@dataclass(frozen=True)
class Needed:
    """An expression that must not be missing in a row that the model uses.

    Attributes:
        alias: its column in the relation.
        sql: over the typed columns.
        kind: "number" or "text" (labels).
        label: its formula text.
        node: for messages; None for time, weights and groups.
        lagged: whether it looks at other rows, so that it may be missing where all columns are there.
    """

    alias: str
    sql: str
    kind: str
    label: str
    node: Node | None
    lagged: bool = False


@dataclass
class Relation:
    """Builds the SQL of the rows, with one column per needed expression.

    The typed columns ("base") come first: numbers as doubles with NaN made NULL, labels as text with the empty text
    made NULL. Values of other rows (lags) are window columns over them. Everything else is row by row.
    """

    source: Source
    formula: Formula
    groups: tuple[str, ...]
    axis: TimeAxis | None = None
    base: dict[str, str] = field(default_factory=dict)
    plain: dict[str, str] = field(default_factory=dict)
    origin: dict[str, str] = field(default_factory=dict)
    windows: dict[str, str] = field(default_factory=dict)
    needed: dict[str, Needed] = field(default_factory=dict)
    guards: list[Guard] = field(default_factory=list)
    group_alias: dict[str, str] = field(default_factory=dict)
    by_alias: dict[str, str] = field(default_factory=dict)
    clean: bool = True
    extra_condition: str = ""

    def __post_init__(self) -> None:
        self.arithmetic = Arithmetic(self.formula, self._leaf)
        self.guards = self.arithmetic.guards
        for name in self.groups:
            self.group_alias[name] = self.label(name)

    # -- typed columns ---------------------------------------------------------------------------------------------

    def _base(self, name: str, prefix: str, clean: str, plain: str) -> str:
        for alias, origin in self.origin.items():
            if origin == name and alias[0] == prefix and self.base[alias] == clean:
                return alias
        alias = f"{prefix}{len(self.base)}"
        self.base[alias], self.plain[alias], self.origin[alias] = clean, plain, name
        return alias

    def numeric(self, name: str) -> str:
        """Alias of a numeric column as a double; sources have no NaN."""
        raw, kind = identifier(name), self.source.columns[name]
        double = raw if base_type(kind) == "DOUBLE" else f"CAST({raw} AS DOUBLE)"
        return self._base(name, "n", double, double)

    def label(self, name: str) -> str:
        """Alias of any column as labels: whole numbers without a decimal point, TRUE and FALSE, empty text as NULL."""
        raw, kind = identifier(name), self.source.columns[name]
        base = base_type(kind)
        if base in FLOATING or base == "DECIMAL":
            short = f"CAST(CAST({raw} AS HUGEINT) AS VARCHAR)"
            whole_number = f"{raw} = FLOOR({raw}) AND ABS({raw}) < 1e18"
            sql = f"CASE WHEN {whole_number} THEN {short} ELSE CAST({raw} AS VARCHAR) END"
            return self._base(name, "t", sql, sql)
        if kind_of(kind) == "truth":
            sql = f"CASE WHEN {raw} THEN 'TRUE' WHEN NOT {raw} THEN 'FALSE' END"
            return self._base(name, "t", sql, sql)
        if kind_of(kind) == "text":
            varchar = raw if base == "VARCHAR" else f"CAST({raw} AS VARCHAR)"
            return self._base(name, "t", f"NULLIF({varchar}, '')", varchar)
        if kind_of(kind) == "other":
            do = "It cannot be used in a model."
            raise DataError(f"The column {name} is {spoken(kind)}.", self.formula.where, do)
        sql = day_text(raw) if kind_of(kind) == "date" else f"CAST({raw} AS VARCHAR)"
        return self._base(name, "t", sql, sql)

    # -- expressions -----------------------------------------------------------------------------------------------

    def _leaf(self, node: Node, want: str) -> Value | None:
        """Columns, and functions of other rows."""
        if isinstance(node, Name):
            return self._column(node, want)
        if isinstance(node, Call):
            name = canonical(node.function)
            if name in ("lag", "diff"):
                return self._lag(node, name)
        return None

    def _type(self, node: Name) -> str:
        return column_type(self.source, node.name, self.formula.where, self.formula, node)

    def _column(self, node: Name, want: str) -> Value:
        from sqlglot import exp

        kind = kind_of(self._type(node))
        if kind == "number":
            return Value(column(self.numeric(node.name)), "number", node.name)
        if kind == "truth":
            raw = identifier(node.name)
            return Value(column(self._base(node.name, "b", raw, raw)), "truth", node.name)
        if kind == "date":
            raw = f"CAST({identifier(node.name)} AS TIMESTAMP)"
            value = column(self._base(node.name, "d", raw, raw))
            if want == "number":  # days since 1970, as R counts dates
                seconds = exp.Anonymous(this="EPOCH", expressions=[value])
                return Value(exp.Paren(this=exp.Div(this=seconds, expression=number(86400))), "number", node.name)
            return Value(value, "date", node.name)
        if want == "number":
            raise self.not_a_number(node)
        return Value(column(self.label(node.name)), "text", node.name)

    def not_a_number(self, node: Name) -> FormulaError:
        """The refusal of a column that is no number, with the first value that is none."""
        kind = self.source.columns[node.name]
        what = f"The column {node.name} is {spoken(kind)}, and arithmetic needs numbers{self.first_text(node.name)}"
        remark = self.source.remarks.get(node.name)
        do = "Mend those values, leave them empty if they are missing, or drop the arithmetic to use it as categories."
        return self.formula.fault(node, what + ".", (f"It was read as {remark}. " if remark else "") + do)

    def first_text(self, name: str) -> str:
        """The first value of a text column that is no number, as the end of a message; empty for other columns."""
        if kind_of(self.source.columns[name]) != "text":
            return ""
        raw = identifier(name)
        query = (
            f"SELECT __row, CAST({raw} AS VARCHAR), TRY_CAST({raw} AS DOUBLE) IS NULL AS bad"
            f" FROM ({self.source.rows_sql(True)}) WHERE {raw} IS NOT NULL ORDER BY bad DESC, __row LIMIT 1"
        )
        found = self.query(query)
        if not found:
            return ""
        row, value, bad = found[0]
        return f"; the first value that is no number is {value!r} (row {row})" if bad else f" ({value!r} in row {row})"

    def _lag(self, node: Call, name: str) -> Value:
        from sqlglot import exp

        if self.axis is None:
            do = "Set time: in the config (time= in Python, --time in the shell)."
            raise self.formula.fault(node, f"{text(node)} needs to know the time of each row.", do)
        steps = whole(argument(node, "k")) or 1
        inner = self.arithmetic.number(node.args[0])
        partition = ", ".join(identifier(a) for a in self.group_alias.values())
        sql = (
            f"FIRST_VALUE({render(inner.sql)}) OVER ({f'PARTITION BY {partition} ' if partition else ''}ORDER BY"
            f' "step" RANGE BETWEEN {steps} PRECEDING AND {steps} PRECEDING)'
        )
        alias = next((a for a, s in self.windows.items() if s == sql), None)
        if alias is None:
            alias = f"w{len(self.windows)}"
            self.windows[alias] = sql
        value = column(alias)
        if name == "diff":
            value = exp.Paren(this=exp.Sub(this=inner.sql.copy(), expression=value))
        return Value(value, "number", text(node))

    def need(self, node: Node, kind: str = "number") -> Needed:
        """Register an expression over single rows and lags as needed, as a number or as labels."""
        name = f"{kind}:{text(strip(node))}"
        found = self.needed.get(name)
        if found is not None:
            return found
        inner = strip(node)
        lagged = any(isinstance(n, Call) and canonical(n.function) in ("lag", "diff") for n in walk(inner))
        if kind == "text":
            sql = self._labels(inner)
        elif isinstance(inner, Name) and kind_of(self._type(inner)) == "number":
            sql = identifier(self.numeric(inner.name))  # needs no expression library: plain models start sooner
        else:
            sql = render(self.arithmetic.number(inner).sql)
        made = Needed(f"v{len(self.needed)}", sql, kind, text(inner), node, lagged)
        self.needed[name] = made
        return made

    def _labels(self, node: Node) -> str:
        """SQL of a factor's labels."""
        if isinstance(node, Name):
            self._type(node)
            return identifier(self.label(node.name))
        value = self.arithmetic.any(node)
        sql = render(value.sql)
        if value.kind == "truth":
            return f"CASE WHEN {sql} THEN 'TRUE' WHEN NOT {sql} THEN 'FALSE' END"
        if value.kind == "number":
            short = f"CAST(CAST({sql} AS HUGEINT) AS VARCHAR)"
            return f"CASE WHEN {sql} = FLOOR({sql}) AND ABS({sql}) < 1e18 THEN {short} ELSE CAST({sql} AS VARCHAR) END"
        return f"CAST({sql} AS VARCHAR)"

    def need_plain(self, label: str, sql: str, kind: str = "number") -> Needed:
        """Register SQL over the base columns (time, weights, group ids) as needed."""
        name = f"{kind}:{label}"
        if name not in self.needed:
            self.needed[name] = Needed(f"v{len(self.needed)}", sql, kind, label, None)
        return self.needed[name]

    def parts(self, node: Node) -> list[Node]:
        """The largest parts of an expression that need no sample statistics."""
        node = strip(node)
        if not uses_sample(node):
            return [node]
        if isinstance(node, Call):
            return self.parts(node.args[0])
        operands: list[Node] = []
        at: Node = node
        while isinstance(at, Op) and at.op in ("+", "-", "*", "/"):  # as Arithmetic takes chains apart
            operands.append(at.right)
            at = at.left
        operands += children(at) if at is node else [at]
        return [p for o in operands for p in self.parts(o) if any(isinstance(n, (Name, Call)) for n in walk(p))]

    def by_columns(self, node: Node, path: tuple[str, ...]) -> tuple[str, ...]:
        """The columns that a by= argument stands for; a grouping column brings the levels above it along."""
        by = argument(node, "by") if isinstance(node, Call) else None
        if by is None:
            return path
        named = columns_of(by) or ()
        for name in named:
            column_type(self.source, name, self.formula.where, self.formula, by)
        if len(named) == 1 and named[0] in path:
            return path[: path.index(named[0]) + 1]
        return named

    # -- SQL -------------------------------------------------------------------------------------------------------

    def rows(self, numbered: bool = False) -> str:
        """All rows of the source, with the base columns, lags and needed expressions as columns."""
        typed = self.base if self.clean else self.plain
        items = [f"{sql} AS {alias}" for alias, sql in typed.items()]
        if self.axis is not None:
            items += [f"{self.axis.sql} AS tm", f"{day_text(identifier(self.axis.name))} AS tl"]
            items += [f"{self.axis.step_sql} AS step"] if self.windows else []
        if numbered:
            items.append("__row")
        join = f" {self.axis.join}" if self.axis is not None else ""
        sql = f"SELECT {', '.join(items) or '1 AS one'} FROM ({self.source.rows_sql(numbered)}){join}"
        for alias, window in self.windows.items():
            sql = f"SELECT *, {window} AS {alias} FROM ({sql})"
        values = "".join(f", {n.sql} AS {n.alias}" for n in self.needed.values())
        return f"SELECT *{values} FROM ({sql})"

    def complete(self) -> str:
        """Condition of a row that the model can use."""
        parts = [f"{alias} IS NOT NULL" for alias in self.all_needed()]
        return " AND ".join([*parts, *([self.extra_condition] if self.extra_condition else [])]) or "TRUE"

    def present(self) -> str:
        """Condition of a row in which every source column of the model is there."""
        columns = [*self.base, *(["tm"] if self.axis is not None else [])]
        return " AND ".join(f"{alias} IS NOT NULL" for alias in columns) or "TRUE"

    def all_needed(self) -> list[str]:
        time = ["tm"] if self.axis is not None else []
        return [*dict.fromkeys([*self.group_alias.values(), *time, *(n.alias for n in self.needed.values())])]

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Run a query; a reader's failure becomes a refusal."""
        import duckdb

        try:
            return self.source.con.execute(sql).fetchall()
        except duckdb.Error as error:
            raise self.source.unreadable(error) from error

    def arrays(self, sql: str) -> dict[str, Any]:
        """Run a query; one NumPy array per column."""
        import duckdb

        try:
            return dict(self.source.con.execute(sql).fetchnumpy())
        except duckdb.Error as error:
            raise self.source.unreadable(error) from error


def uses_sample(node: Node) -> bool:
    """Whether an expression needs statistics of the rows that the model uses."""
    return any(isinstance(n, Call) and canonical(n.function) in SAMPLE_FUNCTIONS for n in walk(node))
