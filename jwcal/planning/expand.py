"""Visits and exposures of a program, before the telescope moved.

A template function, one for every observing template of APT, is called once for every tile of the mosaic:

    function(observation, element, program) -> iterator of model.Exposure

`observation` is the model.Observation, `element` the element of the template (local names, no namespaces),
`program` the model.Program.  It gives the exposures of the template's own instrument in the order in which
they are taken, with what the template decides: exp_type, detectors, subarray, readpatt, ngroups, nints,
config (running number of the configuration: the column "Exp" of APT's pointing report), dither, target,
flags, sure.  It leaves tile, order, group, sequence, activity and number alone.  It raises
planning.templates.Unpredictable("one sentence") for what cannot be predicted.

The exposures of coordinated parallels come from templates.parallel:

    coordinated(observation, primes, program) -> iterator of model.Exposure

`primes` are the exposures of one tile, with `order` set; an exposure of a parallel has the order of the
prime exposure it is taken with, parallel="coordinated", and sequence "2" to "5".

Names of files are given at the end, from everything that is in a visit (planning.naming).
"""
