"""Pools whose cells count exposures, observations and candidates, as those of official tests do.

A cell ``@!EXPRESSION`` is computed, row by row from left to right.  The expressions know the counters
``expnum``, ``obsnum`` and ``acid`` (``next(obsnum)``, ``acid.value + 1``, ``acid.set(1005)``) and
``fmt_fname(number)`` and ``fmt_cand([(number, 'kind'), ...])``, which give a raw file name and the text
of the column asn_candidate.  Nothing else is evaluated.
"""

import ast

from jwcal.core.errors import InputError

MARK = "@!"


def expand(rows, where):
    """Compute the cells that start with ``@!``.

    Parameters
    ----------
    rows : list of tuple of str
        Cells.
    where : callable
        Gives the text that names a row and a column, by their numbers from 0.

    Returns
    -------
    list of tuple of str

    Raises
    ------
    InputError
        If an expression is not one of those above.
    """
    counters = {"expnum": 0, "obsnum": 0, "acid": 999}
    out = []
    for number, row in enumerate(rows):
        cells = list(row)
        for column, cell in enumerate(cells):
            if cell.startswith(MARK):
                try:
                    tree = ast.parse(cell[len(MARK) :].strip(), mode="eval").body
                    cells[column] = str(_value(tree, counters))
                except (SyntaxError, TypeError, ValueError, KeyError, RecursionError) as exc:
                    raise InputError(f"{where(number, column)}: {cell!r} cannot be computed") from exc
        out.append(tuple(cells))
    return out


def _value(node, counters):
    match node:
        case ast.Constant(value=value):
            return value
        case ast.List(elts=parts):
            return [_value(part, counters) for part in parts]
        case ast.Tuple(elts=parts):
            return tuple(_value(part, counters) for part in parts)
        case ast.Attribute(value=ast.Name(id=name), attr="value"):
            return counters[name]
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _value(left, counters) + _value(right, counters)
        case ast.BinOp(left=left, op=ast.Sub(), right=right):
            return _value(left, counters) - _value(right, counters)
        case ast.Call(func=ast.Name(id="next"), args=[ast.Name(id=name)]):
            counters[name] += 1
            return counters[name]
        case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr="set"), args=[argument]):
            counters[name] = _value(argument, counters)
            return counters[name]
        case ast.Call(func=ast.Name(id="fmt_fname"), args=[argument]):
            return f"jw_{_value(argument, counters):0>5d}_uncal.fits"
        case ast.Call(func=ast.Name(id="fmt_cand"), args=[argument]):
            return str([(_identifier(*pair), pair[1]) for pair in _value(argument, counters)])
    raise ValueError(ast.dump(node))


def _identifier(number, kind):
    if isinstance(number, str):
        return number
    if kind == "observation" and number < 1000:
        return f"o{number:0>3d}"
    return f"c{number:0>4d}" if 1000 <= number < 3000 else f"r{number:0>4d}"
