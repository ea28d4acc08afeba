"""All that a program is expected to give, from its file to its last product."""

from jwcal.planning import cost
from jwcal.planning.pool import make_pool
from jwcal.planning.products import Products
from jwcal.planning.raw import raw_files


class Prediction:
    """Prediction of a program.

    Parameters
    ----------
    program : Program
        With visits and exposures.
    sources : dict of int to list of str, optional
        Identifiers of the sources of NIRSpec MOS observations, by observation.
    discover : bool
        Also make associations of the whole program (a3001), which the official generator makes and the
        archive does not.

    Attributes
    ----------
    program : Program
    raws : list of Raw
        Raw files, in the order of execution.
    pool : Pool
        One row for each of them.
    generator : Generator
        Of the pool.
    associations : list of Association
    products : list of Product
        By stage.
    """

    def __init__(self, program, sources=None, discover=False):
        from jwcal.associations.generate import Generator
        from jwcal.associations.rules import load_rules

        self.program = program
        self.raws = raw_files(program)
        self.pool = make_pool(program, self.raws)
        self.generator = Generator(self.pool, load_rules())
        self.associations = self.generator.associations(None, True, discover)
        self.products = Products(program, self.raws, self.generator, sources).collect(self.associations)
        for product in self.products:
            if product.stage and not product.run and product.count and product.raws:
                product.cpu, product.memory = cost.of_run(product.pipeline, product.raws[0])


def predict(path, pointing=None, msa=(), discover=False):
    """Predict what comes of a program.

    Parameters
    ----------
    path : str or Path
        Program file of APT (.aptx, .xml, .gz), or "-" for standard input.
    pointing : str or Path, optional
        APT's pointing report, which has the visits and dithers as APT made them.
    msa : iterable of str or Path
        MSA metadata files, for the sources of NIRSpec MOS observations.
    discover : bool
        Also make associations of the whole program.

    Returns
    -------
    Prediction

    Raises
    ------
    InputError
        If a file is not what it should be, or the program has no visits.
    """
    from jwcal.core.errors import InputError
    from jwcal.planning.apt import read_program
    from jwcal.planning.expand import expand
    from jwcal.planning.msa import read_sources
    from jwcal.planning.pointing import read_pointing

    program = read_program(path)
    report = read_pointing(pointing) if pointing else None
    expand(program, report)
    if not any(observation.visits for observation in program.observations):
        first = f": {program.problems[0].text}" if program.problems else ""
        raise InputError(f"{program.path or path}: no visits can be predicted{first}")
    return Prediction(program, read_sources(msa), discover)
