"""Random contexts, rules and headers; a random.Random decides everything."""

import math

from jwcal.refs.mapping import Mapping, Selector, read_mapping
from jwcal.refs.patterns import condition_field

KEYS = {
    "META.INSTRUMENT.DETECTOR": ("DETECTOR", ("A1", "A2", "B1", "ALONG")),
    "META.INSTRUMENT.FILTER": ("FILTER", ("F115W", "F150W", "F200W", "CLEAR")),
    "META.SUBARRAY.NAME": ("SUBARRAY", ("FULL", "SUB64", "GENERIC", "MASK")),
    "META.EXPOSURE.TYPE": ("EXP_TYPE", ("NRC_IMAGE", "NRC_DARK", "MIR_IMAGE")),
    "META.EXPOSURE.READPATT": ("READPATT", ("FAST", "SLOW", "NOTHING")),
    "META.EXPOSURE.NGROUPS": ("NGROUPS", ("1", "4", "5", "19.99", "20", "1e3")),
    "META.INSTRUMENT.CHANNEL": ("CHANNEL", ("1", "2", "12", "34")),
    "META.VISIT.TSOVISIT": ("TSOVISIT", ("T", "F", "TRUE")),
}
DATE, TIME = "META.OBSERVATION.DATE", "META.OBSERVATION.TIME"
VERSION = "META.CALIBRATION_SOFTWARE_VERSION"
FITS = {**{k: v[0] for k, v in KEYS.items()}, DATE: "DATE-OBS", TIME: "TIME-OBS", VERSION: "CAL_VER"}
ODD = ("N/A", "ANY", "*", "UNDEFINED", "", "NOT APPLICABLE", "()", "NONE", "-999", "4294967295", "between 1 5",
       "NOT A1", "NOTA1", "(A1)", "#A#", "A1|A2", "a1", " A1 ", "N/A|A1", "Ä", "nan", "inf", "1_0", "-2147483648")  # fmt: skip
TIMES = ("1900-01-01 00:00:00", "2000-01-01 00:00:00", "2014-10-15 00:00:00", "2022-07-01 12:00:00",
         "2022-07-01 12:00:01", "2024-02-29 23:59:59", "2030-01-01 00:00:00")  # fmt: skip
DATES = ("2014-10-15", "2022-07-01", "2024-02-29", "1999-12-31", "2031-01-01", "2022/07/01", "07/01/2022", "2023-02-30",
         "UNDEFINED", "N/A", "Jul 01 2022", "01/07/22", "", "2022-07-01T12:00:00", "20220701")  # fmt: skip
CLOCKS = ("00:00:00", "12:00:00", "12:00:00.5", "11:59:59.9999999", "12:00:01.000001", "12:00", "01:02PM", "24:00:00",
          "UNDEFINED", "noon", "12:00:00:00", "23:59:60")  # fmt: skip
VERSIONS = ("0.7.8", "1.10.2", "1.2", "5", "1.14.0.dev1+g12", "2a1", "default", "= 3", "abc", "0.50", "(1,2)")


def field(rng, key):
    """One field of a rule of Match."""
    values = KEYS[key][1]
    a, b = rng.choice(values), rng.choice(values)
    forms = (
        [a] * 14 + ["N/A"] * 6 + ["ANY"] * 8 + ["*", f"{a}|{b}", f"{a} | {b}|", f"{a[:1]}*", f"{a[:2]}*|{b}"]
    )
    forms += [
        f"NOT {a}",
        f"NOT {a}|{b}",
        f"({a[:1]}.*)",
        f"NOT ({a[:1]}.*)",
        f"{{{a}|{b}}}",
        (a, b),
        a.lower(),
    ]
    forms += ["GENERIC", f"?{a[1:]}|{b}", "N/A|" + a, ""]
    if key.endswith("NGROUPS"):
        forms += ["BETWEEN 1 5", "between 5 20", "#>1 and <=20#", "# >1 AND <=20 #", "#>20 or <5#", ">4", "<=4", "NOT BETWEEN 1 5",
                  "NOT #>1 and <=20#", 1, 4.0, "#>5#", "1:20", "BETWEEN 1 20", "#>=4#"]  # fmt: skip
    return rng.choice(forms)


def condition_key(key):
    """Return a key such that equal ones become equal rules."""
    return tuple(
        condition_field(part).replace("GENERIC", "N/A")
        for part in (key if isinstance(key, tuple) else (key,))
    )


def terminal(rng):
    """What a rule chooses."""
    if rng.random() < 0.12:
        return rng.choice(
            ("N/A", "OMIT", "TEMP_N/A", "n/a", "TEMP_OMIT", "temp_n/a", ("x_1.fits", "x_2.fits"))
        )
    return f"jwst_nircam_thing_{rng.randrange(10000):04d}.fits"


def level(rng, classes, parkeys):
    """Selectors, all levels down."""
    name, keys = classes[0], parkeys[0]
    below = lambda: level(rng, classes[1:], parkeys[1:]) if len(classes) > 1 else terminal(rng)  # noqa: E731
    entries, seen = {}, set()
    for _ in range(rng.choice((0, 1, 1, 2, 3, 5, 9) if name != "Match" else (0, 1, 2, 4, 8, 16))):
        if name == "Match":
            key = tuple(field(rng, k) for k in keys)
            key = key[0] if len(key) == 1 and isinstance(key[0], str) and rng.random() < 0.3 else key
        elif name in ("UseAfter", "ClosestTime"):
            key = rng.choice(TIMES)
        elif name == "VersionAfter":
            key = rng.choice(("0.7.8", "1.10", "2", "5.2.1", "0.7.9rc1", "1.10.3"))
        elif name == "SelectVersion":
            key = rng.choice(("<3.1", "<5", "= 4.5", "default", "== 6", "<=7", "8"))
        else:
            key = rng.choice((1, 1.2, 4.5, 20, -3.5, 1e3, 0.1))
        same = condition_key(key)
        if same in seen and rng.random() < 0.98:
            continue
        seen.add(same)
        choice = below()
        entries[key] = terminal(rng) if isinstance(choice, Selector) and rng.random() < 0.05 else choice
    return Selector(name, entries)


def shape(rng):
    """Names of the selectors of a type and their keywords."""
    names = rng.sample(sorted(KEYS), rng.choice((0, 1, 1, 2, 2, 3, 4)))
    classes = rng.choice(
        [("Match", "UseAfter")] * 8
        + [("Match",)] * 3
        + [("UseAfter",), ("Match", "ClosestTime"), ("Match", "VersionAfter"), ("VersionAfter",), ("Match", "UseAfter", "SelectVersion")]
        + [("Match", "SelectVersion"), ("Match", "GeometricallyNearest"), ("Match", "Bracket"), ("UseAfter", "Match"), ("Match", "Match")]
        + [("Bracket", "UseAfter"), ("GeometricallyNearest", "Match")]
    )  # fmt: skip
    parkeys, matches = [], 0
    for name in classes:
        if name == "Match":
            parkeys.append(tuple(names) if not matches else tuple(rng.sample(sorted(KEYS), 1)))
            matches += 1
        elif name in ("UseAfter", "ClosestTime"):
            parkeys.append((DATE, TIME))
        elif name in ("VersionAfter", "SelectVersion"):
            parkeys.append((VERSION,))
        else:
            parkeys.append(("META.EXPOSURE.NGROUPS",))
    return classes, tuple(parkeys)


def expression(rng, keys, deep=0):
    """Condition on keywords."""
    key = rng.choice(keys)
    value = rng.choice(KEYS[key][1] if key in KEYS else TIMES)
    kind = rng.randrange(8 if deep < 3 else 5)
    if kind <= 1:
        return f"{key} {rng.choice(('==', '!=', '<', '>=', '>', '<='))} {value!r}"
    if kind <= 3:
        others = ", ".join(repr(v) for v in rng.sample(KEYS.get(key, (0, ("X", "Y")))[1], 2))
        return f"{key} {rng.choice(('in', 'not in'))} ({others})"
    if kind == 4:
        return rng.choice(
            ("'A' in 'BAR'", "True", "META_UNKNOWN_THING == 'X'", "1 < 2 < 3", f"{key} < 5", f"not {key}")
        )
    if kind == 5:
        return f"not ({expression(rng, keys, deep + 1)})"
    if kind == 6:
        return f"({expression(rng, keys, deep + 1)}) if ({expression(rng, keys, deep + 1)}) else False"
    return (
        f"({expression(rng, keys, deep + 1)}) {rng.choice(('and', 'or'))} ({expression(rng, keys, deep + 1)})"
    )


def decorate(rng, header):
    """Add what may stand in the header of rules."""
    flat = [k for part in header["parkey"] for k in part]
    if not flat:
        return
    if rng.random() < 0.3:
        header["rmap_relevance"] = rng.choice(
            ("ALWAYS", f"({expression(rng, flat)})", f"({expression(rng, flat)})")
        )
    if rng.random() < 0.15:
        header["rmap_omit"] = f"({expression(rng, flat)})"
    if rng.random() < 0.3:
        header["parkey_relevance"] = {
            rng.choice((k, k.lower())): f"({expression(rng, flat)})" for k in rng.sample(flat, 1)
        }
    if rng.random() < 0.25:
        header["reffile_required"] = rng.choice(("YES", "NO", "no", "NONE"))
    if rng.random() < 0.25:
        header["merge_overlaps"] = rng.choice(("True", "False", 1, 0, True))
    if rng.random() < 0.25:
        key = rng.choice(sorted(KEYS))
        value = rng.choice(KEYS[key][1])
        header["substitutions"] = {
            key: {value: rng.choice(("N/A", "ANY", "A1", ["A1", "A2"], rng.choice(KEYS[key][1])))}
        }
    if rng.random() < 0.15:
        header["extra_keys"] = (rng.choice(sorted(KEYS)),)
    if rng.random() < 0.1:
        header["reffile_switch"] = rng.choice(("META.EXPOSURE.TYPE", "none"))
    if rng.random() < 0.1:
        header["comment_parkeys"] = (rng.choice(flat),)


def rules(rng, name, kind):
    """Mapping of one reference type."""
    classes, parkey = shape(rng)
    header = {
        "mapping": "REFERENCE", "name": name, "observatory": "JWST", "instrument": "NIRCAM", "filekind": kind.upper(),
        "derived_from": "generated", "parkey": parkey, "classes": classes, "sha1sum": "",
    }  # fmt: skip
    decorate(rng, header)
    return Mapping(header, level(rng, classes, parkey), label=name)


def mutate(rng, mapping):
    """Change rules in place: fields, rules left out, a level of dates, conditions."""
    parkey = mapping.header["parkey"]
    if not isinstance(parkey[0], tuple):
        return
    entries = {}
    for key, choice in mapping.selector.entries.items():
        fields = list(key) if isinstance(key, tuple) else [key]
        for i, keyword in enumerate(parkey[0]):
            if rng.random() < 0.12 and i < len(fields):
                fields[i] = field(rng, keyword) if keyword in KEYS else rng.choice(("N/A", "ANY", fields[i]))
        if rng.random() > 0.08:
            entries[tuple(fields)] = choice
    if len(parkey) == 1 and rng.random() < 0.5:
        entries = {
            k: Selector("UseAfter", {rng.choice(TIMES): c if n == 0 else terminal(rng) for n in range(rng.randrange(4))})
            for k, c in entries.items()
        }  # fmt: skip
        mapping.header["parkey"] = (*parkey, (DATE, TIME))
    mapping.selector = Selector("Match", entries)
    if rng.random() < 0.4:
        decorate(rng, mapping.header)


def context(rng, folder, serial, kinds=4):
    """Write a pmap, an imap and rules into the cache in a folder; return the name of the pmap."""
    where = folder / "mappings" / "jwst"
    where.mkdir(parents=True, exist_ok=True)
    names = {}
    types = ("DARK", "FLAT", "GAIN", "MASK", "IPC", "AREA")
    for kind in types[:kinds]:
        name = f"jwst_nircam_{kind.lower()}_{serial:04d}.rmap"
        write(rules(rng, name, kind), where / name)
        names[kind] = name
    if rng.random() < 0.3:
        names["WCSREGIONS"] = rng.choice(("N/A", "OMIT", "TEMP_N/A"))
    return _tops(where, {"NIRCAM": names}, serial)


def mutated(rng, folder, serial, source):
    """Write mutations of real rules into the cache in a folder.

    Parameters
    ----------
    rng : random.Random
    folder : Path
        Root of the cache.
    serial : int
        Number in the names.
    source : sequence of Path
        Real .rmap files.

    Returns
    -------
    pmap : str
    pools : dict of str to dict
        Likely values by keyword, by instrument.
    """
    where = folder / "mappings" / "jwst"
    where.mkdir(parents=True, exist_ok=True)
    instruments, pools = {}, {}
    for path in source:
        mapping = read_mapping(path)
        name = f"jwst_{mapping.instrument}_{mapping.filekind}_{serial:04d}.rmap"
        mapping.label = mapping.header["name"] = name
        mutate(rng, mapping)
        write(mapping, where / name)
        instruments.setdefault(mapping.instrument.upper(), {})[mapping.filekind.upper()] = name
        add_values(mapping, pools.setdefault(mapping.instrument.upper(), {}))
    return _tops(where, instruments, serial), {k: filled(v) for k, v in pools.items()}


def add_values(mapping, pool):
    """Collect the values that rules name, by keyword."""
    parkey = mapping.header["parkey"]
    for keys in mapping.selector.entries if isinstance(parkey[0], tuple) else ():
        for keyword, value in zip(parkey[0], keys if isinstance(keys, tuple) else (keys,), strict=False):
            values = str(value).split("|") if isinstance(value, str) else [str(value)]
            pool.setdefault(keyword, set()).update(v.strip() for v in values)


def filled(pool):
    """Values by keyword, with those of keywords that no rule names."""
    return {**pools_of_keys(), **{k: sorted(v) for k, v in pool.items()}}


def _tops(where, instruments, serial):
    tops = {}
    for instrument, names in instruments.items():
        imap = f"jwst_{instrument.lower()}_{serial:04d}.imap"
        header = {"mapping": "INSTRUMENT", "name": imap, "observatory": "JWST", "instrument": instrument,
                  "derived_from": "generated", "parkey": ("REFTYPE",), "sha1sum": ""}  # fmt: skip
        write(Mapping(header, names, label=imap), where / imap)
        tops[instrument] = imap
    pmap = f"jwst_{serial:04d}.pmap"
    header = {"mapping": "PIPELINE", "name": pmap, "observatory": "JWST", "derived_from": "generated",
              "parkey": ("META.INSTRUMENT.NAME",), "sha1sum": ""}  # fmt: skip
    write(Mapping(header, tops, label=pmap), where / pmap)
    return pmap


def write(mapping, path):
    """Write a mapping with its checksum."""
    path.write_text(mapping.stamp())


def header(rng, pools, instrument="NIRCAM"):
    """Header of a data set.

    Parameters
    ----------
    rng : random.Random
    pools : dict of str to sequence of str
        Likely values by keyword of the rules.
    instrument : str
    """
    out = {rng.choice(("INSTRUME", "META.INSTRUMENT.NAME", "meta.instrument.name")): instrument}
    for key, values in pools.items():
        if rng.random() < 0.04:
            continue
        name = rng.choice((key, FITS.get(key, key), key.lower()))
        value = rng.choice(ODD) if rng.random() < 0.07 else rng.choice(values)
        if rng.random() < 0.1:
            try:
                value = rng.choice((float, int))(value)
            except ValueError:
                value = rng.choice((value, True, None, value.lower()))
            if isinstance(value, float) and not math.isfinite(value):
                value = "1e300"
        out[name] = value
    return out


def pools_of_keys():
    """Values by keyword for the headers of random rules."""
    pools = {key: values for key, (_, values) in KEYS.items()}
    dates, clocks = (*DATES[:5] * 6, *DATES), (*CLOCKS[:6] * 6, *CLOCKS)
    return {**pools, DATE: dates, TIME: clocks, VERSION: (*VERSIONS[:5] * 2, *VERSIONS)}
