"""What a context holds, and whether it is sound."""

from jwcal.core.errors import ReferenceFileError
from jwcal.refs.compile import compile_rules
from jwcal.refs.mapping import SPECIAL_VALUES


def survey(cache, context, check=False):
    """Count what a context names.

    Parameters
    ----------
    cache : Cache
        Where it is.
    context : str
        A .pmap or .imap.
    check : bool
        Also follow the derivation and compile the rules of every mapping.

    Returns
    -------
    dict
        context, sha1sum, checked (number of mappings), and by instrument: mapping, types,
        references (number of files named) and cached (number in the cache).

    Raises
    ------
    ReferenceFileError
        If a mapping is missing, damaged, misnamed, or derived from itself.
    """
    top = cache.read(context)
    below = top.children() if top.kind == "pmap" else {top.instrument: context}
    rows, checked = {}, 0
    if check:
        _sound(cache, context, top)
        checked += 1
    for instrument, name in sorted(below.items()):
        imap = cache.read(name)
        if check and name != context:
            _sound(cache, name, imap)
            checked += 1
        files: set = set()
        for kind, rmap in imap.selector.items():
            if rmap in SPECIAL_VALUES:
                continue
            mapping = cache.read(rmap)
            files.update(mapping.references())
            if check:
                _sound(cache, rmap, mapping)
                compile_rules(mapping)
                if (mapping.instrument, mapping.filekind) != (instrument, kind.lower()):
                    raise ReferenceFileError(
                        f"{rmap}: is for {mapping.instrument} {mapping.filekind}, {name} has it for {kind.lower()}"
                    )
                checked += 1
        rows[instrument] = {
            "mapping": name,
            "types": len(imap.selector),
            "references": len(files),
            "cached": sum(cache.reference_path(f, instrument) is not None for f in files),
        }
    return {"context": context, "sha1sum": top.sha1sum, "checked": checked, "instruments": rows}


def _sound(cache, name, mapping):
    if mapping.name != name.lower():
        raise ReferenceFileError(f"{name}: its header says {mapping.name}")
    if mapping.duplicates:
        raise ReferenceFileError(f"{name}: rule given twice: {mapping.duplicates[0]}")
    cache.derivation(name)
