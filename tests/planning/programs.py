"""Small programs as APT writes them."""

HEAD = (
    '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
    '<JwstProposal schemaVersion="52" APTVersion="Version 2021.3  JWST PRD: PRDOPSSOC-039 "'
    ' PRDVersion="PRDOPSSOC-039" xmlns="http://www.stsci.edu/JWST/APT"'
    ' xmlns:nci="http://www.stsci.edu/JWST/APT/Template/NircamImaging"'
    ' xmlns:mi="http://www.stsci.edu/JWST/APT/Template/MiriImaging">\n'
)
ABOUT = """<ProposalInformation><Title>A &amp; B</Title><ProposalID>1234</ProposalID>
<ProposalCategory>GO</ProposalCategory><Cycle>2</Cycle><Unheard><Of/></Unheard>
<PrincipalInvestigator><InvestigatorAddress><FirstName>Ada</FirstName><LastName>Lovelace</LastName>
</InvestigatorAddress></PrincipalInvestigator></ProposalInformation>
"""
TARGETS = """<Targets>
<Target xsi:type="FixedTargetType" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
<Number>1</Number><TargetName>FIELD</TargetName><TargetArchiveName>M 1</TargetArchiveName>
<EquatorialCoordinates Value="05 30 00.0 -69 30 00.0"/><Extended>YES</Extended></Target>
<Target xsi:type="SolarSystemTargetType" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
<Number>4</Number><TargetName>MARS</TargetName></Target></Targets>
"""
FILTERS = """<nci:Filters><nci:FilterConfig><nci:ShortFilter>F070W</nci:ShortFilter>
<nci:LongFilter>F405N+F444W</nci:LongFilter><nci:ReadoutPattern>RAPID</nci:ReadoutPattern>
<nci:Groups>3</nci:Groups><nci:Integrations>2</nci:Integrations></nci:FilterConfig>
<nci:FilterConfig><nci:ShortFilter>F162M+F150W2</nci:ShortFilter><nci:LongFilter>F277W</nci:LongFilter>
<nci:ReadoutPattern>BRIGHT1</nci:ReadoutPattern><nci:Groups>5</nci:Groups>
<nci:Integrations>1</nci:Integrations></nci:FilterConfig></nci:Filters>
"""


def nircam(module="B", subarray="FULL", primary="3", subpixel="2", kind="INTRAMODULE"):
    """Template of NIRCam imaging with two filters (str)."""
    return (
        f"<nci:NircamImaging><nci:Module>{module}</nci:Module><nci:Subarray>{subarray}</nci:Subarray>"
        f"<nci:PrimaryDitherType>{kind}</nci:PrimaryDitherType>"
        f"<nci:PrimaryDithers>{primary}</nci:PrimaryDithers>"
        "<nci:SubpixelDitherType>STANDARD</nci:SubpixelDitherType>"
        f"<nci:SubpixelPositions>{subpixel}</nci:SubpixelPositions>{FILTERS}</nci:NircamImaging>"
    )


def observation(number=1, template=None, *, target="1 FIELD", tiles="1", more="", visits=()):
    """An observation (str): `tiles` are the words "1" for a tile that is included and "0" for one not."""
    states = "".join(
        f'<MosaicTiles TileNumber="{at}"><TileState>Tile {"Included" if state == "1" else "Excluded"}'
        "</TileState></MosaicTiles>"
        for at, state in enumerate(tiles, 1)
    )
    return (
        f"<Observation><Number>{number}</Number><TargetID>{target}</TargetID><Label>field {number}</Label>"
        f"<Instrument>NIRCAM</Instrument><Template>{template or nircam()}</Template>"
        f"<CoordinatedParallel>false</CoordinatedParallel>{more}"
        f"<MosaicParameters><Rows>1</Rows><Columns>{len(tiles)}</Columns>{states}</MosaicParameters>"
        + "".join(f'<Visit Number="{at}"/>' for at in visits)
        + "</Observation>\n"
    )


def program(*observations, links=""):
    """A program (str)."""
    return (
        f"{HEAD}{ABOUT}{TARGETS}<DataRequests><ObservationGroup>\n"
        + "".join(observations or (observation(),))
        + f"</ObservationGroup></DataRequests><LinkingRequirements>{links}</LinkingRequirements></JwstProposal>\n"
    )
