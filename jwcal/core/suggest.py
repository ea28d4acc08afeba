"""Help with names that are not known."""


def near(name, known):
    """Known names that are spelt nearly like one, the nearest first.

    Parameters
    ----------
    name : str
        What was given.
    known : iterable of str
        What there is; dashes, underscores and case do not matter.

    Returns
    -------
    list of str
        Three at most.
    """
    import difflib

    spelt = {word.replace("-", "_").lower(): word for word in known}
    found = difflib.get_close_matches(name.replace("-", "_").lower(), spelt, 3, 0.7)
    return [spelt[word] for word in found]


def instead(name, known, more=""):
    """Say what could have been meant by a name, for the end of a message.

    Parameters
    ----------
    name, known
        As for `near`.
    more : str
        What would do beside the known names, if none is near.

    Returns
    -------
    str
        "did you mean A or B?" where names are near, else "known: A, B, C".
    """
    known = list(known)
    found = near(name, known)
    if found:
        return f"did you mean {' or '.join(found)}?"
    return f"known: {', '.join(known) or 'none'}{more}"
