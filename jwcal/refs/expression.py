"""Evaluate parsed conditions: comparisons and logic, nothing else."""


class UnknownNameError(ValueError):
    """A condition uses a keyword that the header lacks."""


def names(tree):
    """Names that a condition looks up."""
    operation, *parts = tree
    if operation == "name":
        return {parts[0]}
    if operation == "value":
        return set()
    if operation in ("and", "or", "tuple", "list", "compare"):
        parts = parts[-1]
    return set().union(*(names(part) for part in parts))


def evaluate(tree, header):
    """Value of a condition.

    Parameters
    ----------
    tree : list
        What `jwcal.refs.conditions.parse` gave.
    header : mapping
        Values by name.

    Raises
    ------
    UnknownNameError
        If a name has no value.
    TypeError
        If values cannot be compared.
    """
    operation = tree[0]
    if operation == "value":
        return tree[1]
    if operation == "name":
        try:
            return header[tree[1]]
        except KeyError:
            raise UnknownNameError(f"name {tree[1]!r} has no value") from None
    if operation in ("and", "or"):
        value = None
        for part in tree[1]:
            value = evaluate(part, header)
            if bool(value) == (operation == "or"):
                break
        return value
    if operation == "not":
        return not evaluate(tree[1], header)
    if operation == "-":
        return -evaluate(tree[1], header)
    if operation == "tuple":
        return tuple(evaluate(part, header) for part in tree[1])
    if operation == "list":
        return [evaluate(part, header) for part in tree[1]]
    if operation == "if":
        return evaluate(tree[2] if evaluate(tree[1], header) else tree[3], header)
    return _chain(tree[1], tree[2], header)


def _chain(operators, operands, header):
    left = evaluate(operands[0], header)
    value: object = True
    for operator, operand in zip(operators, operands[1:], strict=True):
        right = evaluate(operand, header)
        value = _compare(operator, left, right)
        if not value:
            break
        left = right
    return value


def _compare(operator, left, right):
    if operator == "==":
        return left == right
    if operator == "!=":
        return left != right
    if operator == "in":
        return left in right
    if operator == "not in":
        return left not in right
    if operator == "<":
        return left < right
    if operator == "<=":
        return left <= right
    if operator == ">":
        return left > right
    return left >= right
