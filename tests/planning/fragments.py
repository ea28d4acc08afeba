"""Programs of one observation, made from the fragment of its template."""

import tempfile
from pathlib import Path

from jwcal.planning.apt import read_program
from jwcal.planning.expand import expand
from tests.planning.programs import ABOUT, HEAD, TARGETS

_OTHER = """<Target><Number>2</Number><TargetName>OTHER</TargetName>
<EquatorialCoordinates Value="05 30 00.0 -69 31 00.0"/></Target></Targets>"""


def program_of(template, *, parallel="", requirements="", target="1 FIELD", visits=(1,)):
    """A program (str) of one observation.

    Parameters
    ----------
    template : str
        Element of the template, without name space.
    parallel : str
        Element of the template of a coordinated parallel.
    requirements : str
        Special requirements.
    target : str
        Target of the observation.
    visits : tuple of int
        Visits that the program lists.
    """
    beside = (
        "<CoordinatedParallelSet>A-B</CoordinatedParallelSet>"
        f"<FirstCoordinatedTemplate>{parallel}</FirstCoordinatedTemplate>"
    )
    return (
        f"{HEAD}{ABOUT}{TARGETS.replace('</Targets>', _OTHER)}<DataRequests><ObservationGroup>"
        f"<Observation><Number>1</Number><TargetID>{target}</TargetID><Template>{template}</Template>"
        f"<CoordinatedParallel>{'true' if parallel else 'false'}</CoordinatedParallel>{beside if parallel else ''}"
        f"<SpecialRequirements>{requirements}</SpecialRequirements>"
        + "".join(f'<Visit Number="{at}"/>' for at in visits)
        + "</Observation></ObservationGroup></DataRequests><LinkingRequirements/></JwstProposal>"
    )


def predicted(template, **more):
    """Exposures (list) of an observation; raises AssertionError if there is a problem."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "program.xml"
        path.write_text(program_of(template, **more))
        found = expand(read_program(path))
    assert not found.problems, found.problems
    return [exposure for _, _, exposure in found.exposures()]
