"""Which values of a text column a filter leaves, read off a Daft expression: `uri = 'a' and ...`, `video_id in (...)`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from daft.expressions import ExpressionVisitor

if TYPE_CHECKING:
    import daft


def values_asked(predicate: daft.Expression) -> dict[str, frozenset[str]]:
    """Column -> the only values of it that a row may have for the predicate to hold. Columns that it does not bind are absent."""
    found = _Values().visit(predicate)
    return found if isinstance(found, dict) else {}


class _Values(ExpressionVisitor[Any]):
    """Gives a column's name as `str` in a tuple, a literal as a list of one, a predicate as a dict."""

    def visit_col(self, name: str) -> Any:
        return (name,)

    def visit_lit(self, value: Any) -> Any:
        return [value]

    def visit_alias(self, expr: daft.Expression, alias: str) -> Any:
        return self.visit(expr)

    def visit_cast(self, expr: daft.Expression, dtype: Any) -> Any:
        return {}

    def visit_try_cast(self, expr: daft.Expression, dtype: Any) -> Any:
        return {}

    def visit_function(self, name: str, args: list[daft.Expression]) -> Any:
        return {}

    def visit_coalesce(self, args: list[daft.Expression]) -> Any:
        return {}

    def visit_and(self, left: daft.Expression, right: daft.Expression) -> Any:
        one, other = self._bound(left), self._bound(right)
        return {**one, **other} | {name: one[name] & other[name] for name in one.keys() & other.keys()}

    def visit_or(self, left: daft.Expression, right: daft.Expression) -> Any:
        one, other = self._bound(left), self._bound(right)
        return {name: one[name] | other[name] for name in one.keys() & other.keys()}

    def visit_equal(self, left: daft.Expression, right: daft.Expression) -> Any:
        one, other = self.visit(left), self.visit(right)
        if isinstance(other, tuple):
            one, other = other, one
        return _only(one, other)

    def visit_is_in(self, expr: daft.Expression, items: list[daft.Expression]) -> Any:
        values = [self.visit(item) for item in items]
        return _only(self.visit(expr), [v for some in values for v in some] if all(isinstance(v, list) for v in values) else {})

    def _bound(self, expr: daft.Expression) -> dict[str, frozenset[str]]:
        found = self.visit(expr)
        return found if isinstance(found, dict) else {}


def _only(column: Any, values: Any) -> dict[str, frozenset[str]]:
    known = isinstance(column, tuple) and isinstance(values, list) and all(isinstance(value, str) for value in values)
    return {column[0]: frozenset(values)} if known else {}
