"""What changed in the rules of a reference type over time."""

from jwcal.core.errors import UsageError


def history(cache, context, kind, instrument=None):
    """How the rules of a type came to be, the newest first.

    Parameters
    ----------
    cache : jwcal.refs.cache.Cache
        Cache with the mappings.
    context : str
        Context to start from.
    kind : str
        Reference type in lower case.
    instrument : str or None
        In lower case; None is all instruments.

    Yields
    ------
    dict
        ``instrument``, ``rules``, ``derived_from``, ``present``, ``added`` and ``removed`` (files, against
        the rules it was derived from, None if the cache does not have these).

    Raises
    ------
    UsageError
        If no instrument has the type.
    """
    pmap = cache.read(context)
    found = False
    for name, imap_name in sorted(pmap.children().items()):
        if instrument not in (None, name):
            continue
        rules = cache.read(imap_name).children().get(kind)
        if rules is None:
            continue
        found = True
        chain = [rules, *cache.derivation(rules)]
        for k, mapping_name in enumerate(chain):
            entry = {
                "instrument": name,
                "rules": mapping_name,
                "present": cache.mapping_path(mapping_name).is_file(),
            }
            if not entry["present"]:
                yield {**entry, "derived_from": None, "added": None, "removed": None}
                break
            mapping = cache.read(mapping_name)
            before = chain[k + 1] if k + 1 < len(chain) else None
            entry.update({"derived_from": before, "added": None, "removed": None})
            if before is not None and cache.mapping_path(before).is_file():
                mine, theirs = set(mapping.references()), set(cache.read(before).references())
                entry.update({"added": sorted(mine - theirs), "removed": sorted(theirs - mine)})
            yield entry
    if not found:
        raise UsageError(
            f"{kind}: {context} has no such reference type" + (f" of {instrument}" if instrument else "")
        )
