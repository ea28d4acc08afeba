"""Manual pages of section 1 from the commands, and the tables of ``jwcal-fits.5``."""

import click

from jwcal.cli import troff
from jwcal.core.errors import EXIT_CODES, JwcalError

# Commands whose exit code 1 is an answer, not a failure.
DIFFERENCE = {"diff": "the products differ", "docs": "with --check: files differ"}


def summary(command):
    """Return the first line of a command's help."""
    return (command.help or "").strip().split("\n")[0]


def _version():
    from jwcal import __version__

    return __version__


def main_page(commands, groups):
    """Write ``jwcal.1``.

    Parameters
    ----------
    commands : dict of str to click.Command
        All commands.
    groups : dict of str to str
        Group of each command.

    Returns
    -------
    str
    """
    from jwcal.cli.commands import root

    lines = troff.header("jwcal", 1, _version())
    lines += [
        *troff.section("NAME"),
        "jwcal \\- calibrate James Webb Space Telescope data with small commands",
    ]
    lines += [
        *troff.section("SYNOPSIS"),
        ".B jwcal",
        "[\\-\\-version] [\\-h] \\fICOMMAND\\fR [\\fIARGUMENT\\fR]...",
    ]
    lines += [*troff.section("DESCRIPTION"), *troff.paragraphs(root.help)]
    lines += troff.section("COMMANDS")
    group = None
    for name, command in commands.items():
        if groups[name] != group:
            group = groups[name]
            lines.append(f".SS {group}")
        lines += [".TP", f"\\fBjwcal\\-{troff.plain(name)}\\fR(1)", troff.marked(summary(command))]
    lines += _exit_status()
    lines += troff.section("ENVIRONMENT")
    for name, text in (
        (
            "JWCAL_CONFIG",
            "Site parameter file in TOML; values of a -p file and of the command line win over it.",
        ),
        (
            "SOURCE_DATE_EPOCH",
            "Seconds since 1970 to use for dates in headers, so that reruns give equal files.",
        ),
        (
            "XDG_CACHE_HOME",
            "Where the digests of reference files are remembered, in jwcal/; default ~/.cache.",
        ),
        ("TMPDIR", "Where streams too large for memory are held."),
        (
            "JWCAL_NATIVE",
            "0 or off: use the NumPy kernels instead of the compiled ones; same results, slower.",
        ),
        ("COLORTERM", "truecolor or 24bit: jwcal preview uses 24-bit colours in the terminal."),
    ):
        lines += troff.term(name, text)
    lines += troff.section("EXAMPLES")
    lines += troff.example(
        [
            "jwcal run detector1 x_uncal.fits -o x_rate.fits --refs refs/",
            "jwcal dq-init x_uncal.fits --refs refs/ | jwcal saturation --refs refs/ | jwcal info",
            "jwcal history x_rate.fits --as shell",
        ]
    )
    return troff.page([*lines, *_see_also(["jwcal-pipes(7)", "jwcal-fits(5)"])])


def command_page(name, command, steps):
    """Write the page of a command.

    Parameters
    ----------
    name : str
        Its name.
    command : click.Command
        The command.
    steps : dict of str to Step
        All steps by command, in order.

    Returns
    -------
    str
    """
    lines = troff.header(f"jwcal-{name}", 1, _version())
    lines += [*troff.section("NAME"), f"jwcal\\-{troff.plain(name)} \\- {_bare(summary(command))}"]
    lines += troff.section("SYNOPSIS")
    lines += _synopsis(f"jwcal {name}", command)
    if isinstance(command, click.Group):
        children = _below(command, name)
        for child, sub in children.items():
            lines += [".br", *_synopsis(f"jwcal {name} {child}", sub)]
        lines += [*troff.section("DESCRIPTION"), *troff.paragraphs(command.help)]
        for child, sub in children.items():
            lines += [
                *troff.section(f'"{troff.plain(child.upper())}"'),
                *troff.paragraphs(sub.help),
                *_options(sub),
            ]
    else:
        lines += [*troff.section("DESCRIPTION"), *troff.paragraphs(command.help)]
        step = steps.get(name)
        if step is not None:
            lines += _step_facts(step)
        lines += [*troff.section("OPTIONS"), *_options(command, step)]
        if step is not None and step.refs:
            lines += _reference_files(step)
    lines += _exit_status(name)
    return troff.page([*lines, *_see_also(_neighbours(name, list(steps)))])


def _below(group, name):
    """Commands of a group, and of the groups among them, by their names after that of the group."""
    context = click.Context(group, info_name=name)
    out = {}
    for child in group.list_commands(context):
        command = group.get_command(context, child)
        if command is not None:
            out[child] = command
        if isinstance(command, click.Group):
            out |= {f"{child} {key}": value for key, value in _below(command, child).items()}
    return out


def _bare(line):
    text = line.rstrip(".")
    acronym = text[1:2].isupper()
    return troff.plain(text if acronym else text[:1].lower() + text[1:])


def _synopsis(path, command):
    words = [f"\\fB{troff.plain(path)}\\fR"]
    if isinstance(command, click.Group):
        words.append(
            "[\\fICOMMAND\\fR] [\\fIARGUMENT\\fR]..."
            if command.invoke_without_command
            else "\\fICOMMAND\\fR ..."
        )
    else:
        words.append("[\\fIOPTION\\fR]...")
        for p in command.params:
            if isinstance(p, click.Argument):
                words.append(
                    f"\\fI{troff.plain(p.metavar or p.name.upper())}\\fR{'...' if p.nargs == -1 and not p.metavar else ''}"
                )
    return [" ".join(words)]


def _step_facts(step):
    from jwcal.analysis.steps import describe_step

    facts = describe_step(step)
    who = ", ".join(facts["instruments"]) if facts["instruments"] else "all instruments"
    text = f"Takes a {facts['takes']} and gives a {facts['gives']}; for {who}; changes {', '.join(facts['changes']) or 'nothing'}."
    if facts["off_by_default"]:
        text += " It is off unless asked for with --no-skip."
    if facts["status"]:
        text += f" Its state goes to the keyword {facts['status']}."
    if facts["keywords"]:
        text += f" It also sets {', '.join(facts['keywords'])}."
    return [".PP", troff.marked(text)]


def _options(command, step=None):
    lines = []
    own = {f"par_{p.name}" for p in step.params} if step else set()
    given = [p for p in command.params if isinstance(p, click.Option) and not p.hidden]
    if own:
        lines.append('.SS "Parameters of this step"')
        for p in given:
            if p.name in own:
                lines += _option(p)
        lines.append('.SS "Common options"')
    for p in given:
        if p.name not in own:
            lines += _option(p)
    return [*lines, *troff.term("-h, --help", "Show a short help and exit.")]


def _option(option):
    names = ", ".join(option.opts)
    if option.secondary_opts:
        names += " / " + ", ".join(option.secondary_opts)
    if not (option.is_flag or option.count):
        names += f" {_metavar(option)}"
    text = option.help or ""
    low, high = getattr(option.type, "min", None), getattr(option.type, "max", None)
    if not option.count and (low is not None or high is not None):
        text += f"  [{'' if low is None else low}..{'' if high is None else high}]"
    if option.show_default is True and option.default is not None:
        values = option.default if isinstance(option.default, (tuple, list)) else (option.default,)
        text += f"  [default: {' '.join(map(str, values))}]"
    return troff.term(names, text)


def _metavar(option):
    if option.metavar:
        return option.metavar
    if isinstance(option.type, click.Choice):
        return "|".join(map(str, option.type.choices))
    return {"integer": "N", "integer range": "N", "float": "NUMBER", "float range": "NUMBER"}.get(
        option.type.name, "TEXT"
    )


def _reference_files(step):
    from jwcal.analysis.steps import missing_text

    lines = troff.section('"REFERENCE FILES"')
    for ref in step.refs:
        text = f"{missing_text(ref.missing).capitalize()}."
        if ref.planes:
            text += f" Extensions {', '.join(ref.planes)}."
        if ref.optional_planes:
            text += f" May lack {', '.join(ref.optional_planes)}."
        lines += troff.term(ref.kind.upper(), f"{text} Named in the keyword {ref.header_keyword}.")
    return lines


def _exit_status(name=None):
    lines = troff.section('"EXIT STATUS"')
    for code, text in EXIT_CODES.items():
        answer = f"{DIFFERENCE[name]}; or an " if code == 1 and name in DIFFERENCE else ""
        lines += troff.term(str(code), answer + text)
    return lines


def _neighbours(name, steps):
    out = ["jwcal(1)"]
    if name in steps:
        k = steps.index(name)
        out += [f"jwcal-{n}(1)" for n in (*steps[max(k - 1, 0) : k], *steps[k + 1 : k + 2], "run")]
    return [*out, "jwcal-pipes(7)", "jwcal-fits(5)"]


def _see_also(pages):
    words = [f"\\fB{troff.plain(p.split('(')[0])}\\fR({p.split('(')[1]}" for p in pages]
    return [*troff.section('"SEE ALSO"'), ", ".join(words)]


# -- tables of jwcal-fits.5


def fits_page(text, path):
    """Put the tables of the package's data into the written page.

    Parameters
    ----------
    text : str
        Page with a line for the begin and the end of each table.
    path : Path
        Its name for messages.

    Returns
    -------
    str

    Raises
    ------
    JwcalError
        If a mark is missing.
    """
    makers = {"products": _products_table, "flags": _flags_table, "keywords": _keywords_table}
    for name, make in makers.items():
        start, end = f'.\\" begin {name}\n', f'.\\" end {name}\n'
        if text.count(start) != 1 or text.count(end) != 1:
            raise JwcalError(f'{path}: needs one line .\\" begin {name} and one .\\" end {name}')
        head, _, rest = text.partition(start)
        text = head + start + "\n".join(make()) + "\n" + end + rest.partition(end)[2]
    return text


def _products_table():
    from jwcal.core.exposure import products

    words = {"u1": "uint8", "u2": "uint16", "u4": "uint32", "f4": "float32"}
    lines = []
    for name, spec in products().items():
        lines.append(f".SS {name}")
        model = spec["datamodl"] + (f" (IFU: {spec['datamodl_ifu']})" if "datamodl_ifu" in spec else "")
        lines.append(troff.plain(f"Suffix _{spec['suffix']}; DATAMODL {model}."))
        rows = []
        for plane, p in spec["planes"].items():
            axes = "[" + ", ".join(p["axes"]) + "]"
            note = "if present" if p.get("optional") else ""
            rows.append(
                f"{plane:<12} {words[p['dtype']]:<8} {axes:<22} {p.get('unit', ''):<8} {note}".rstrip()
            )
        lines += troff.example(rows)
    return lines


def _flags_table():
    from jwcal.core.dq import DQ, MEANING

    rows = [f"{DQ[n].bit_length() - 1:>2} {DQ[n]:>10}  {n:<16} {MEANING[n]}" for n in MEANING]
    return troff.example(rows)


def _keywords_table():
    from jwcal.core.exposure import keywords

    return troff.example(
        [f"{key:<8} {rule['type']:<6} {rule['comment']}" for key, rule in keywords().items()]
    )
