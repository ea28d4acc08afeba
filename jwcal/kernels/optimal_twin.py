"""The NumPy twin of the optimal ramp fit: the same values as the compiled one, bit for bit."""

import math

import numpy as np

DNU, SATURATED, JUMP, PERSISTENCE = 1, 2, 4, 32
PLANES = ("SCI", "ERR", "VAR_POISSON", "VAR_RNOISE")
NEGATIVE = 255
# A template whose size the rest of the ramp cannot tell is not tested.
DEGENERATE = 1.0e-9
# The rate behind the covariance is too high while a jump is still in: look a little closer.
CLOSER = 0.8
# Differences for a median.
ENOUGH = 64
# What neighbours say of a difference: 0 for one of a pair, then by octaves of the size of their hit.
CLASSES = 16
# Steps of a squared significance that is kept in a byte, and the smallest that is kept.
STEPS, LEAST = 8.0, 32.0


def tail(limit):
    """Mean of a unit Gaussian beyond a limit, times the chance to be there."""
    return math.exp(-0.5 * limit * limit) / math.sqrt(2.0 * math.pi) if limit < 30.0 else 0.0


def pair_tail(limit, pair):
    """Return the same for what is below the limit, but not together with one of eight neighbours."""
    least, steps = math.sqrt(LEAST / STEPS), 200
    if math.isinf(pair) or limit <= least:
        return 0.0
    total, step = 0.0, (min(limit, pair) - least) / steps
    for k in range(steps):
        z = least + (k + 0.5) * step
        other = max(least, math.sqrt(max(pair * pair - z * z, 0.0)))
        total += z * tail(z) * 4.0 * math.erfc(other / math.sqrt(2.0)) * step
    return total


def scale(limit):
    """Factor that turns a squared significance into one in units of its limit."""
    return 0.0 if math.isinf(limit) else 1.0 / (limit * limit)


class Chain:
    """Solution of the tridiagonal system of differences, for arrays of pixels (the twin).

    Parameters
    ----------
    use : (m, n) bool numpy.ndarray
        Differences to use.
    diff : (m, n) float64 numpy.ndarray
        Differences, electrons.
    signal, read : (n,) float64 numpy.ndarray
        Signal of a group time and variance of a group, electrons.
    shared : float
        `RampModel.shared`.
    """

    def __init__(self, use, diff, signal, read, shared):
        m = len(use)
        center = signal * (1.0 - 2.0 * shared) + 2.0 * read
        side = signal * shared - read
        inverse: list = []
        lower: list = []
        y: list = []
        t: list = []
        for j in range(m):
            x = np.where(use[j], diff[j], 0.0)
            one = np.where(use[j], 1.0, 0.0)
            c = np.where(use[j], center, 1.0)
            if j:
                off = np.where(use[j] & use[j - 1], side, 0.0)
                low = off * inverse[-1]
                lower.append(low)
                c = c - off * low
                x = x - low * y[-1]
                one = one - low * t[-1]
            inverse.append(1.0 / c)
            y.append(x)
            t.append(one)
        self.use = use
        self.v, self.w, self.g = [y[-1] * inverse[-1]], [t[-1] * inverse[-1]], [inverse[-1]]
        self.h: list = []
        for j in range(m - 2, -1, -1):
            low = lower[j]
            self.h.insert(0, -low * self.g[0])
            self.v.insert(0, y[j] * inverse[j] - low * self.v[0])
            self.w.insert(0, t[j] * inverse[j] - low * self.w[0])
            self.g.insert(0, inverse[j] + low * low * self.g[0])
        self.weight, self.sum = _total(self.w), _total(self.v)

    def forms(self):
        """Return the sums of squares and of products of neighbouring weights."""
        cross = _total([a * b for a, b in zip(self.w, self.w[1:], strict=False)])
        return _total([w * w for w in self.w]), cross if len(self.w) > 1 else np.zeros_like(self.weight)

    def template(self, j, part, slope, over):
        """Residual, information and use of a jump with a part of it in `j`, the rest in the next."""
        u = self.v[j] - slope * self.w[j]
        know = self.g[j] - self.w[j] * self.w[j] * over
        if part == 1.0:
            return u, know, self.use[j] & (know > DEGENERATE * self.g[j])
        rest = 1.0 - part
        u1 = self.v[j + 1] - slope * self.w[j + 1]
        know1 = self.g[j + 1] - self.w[j + 1] * self.w[j + 1] * over
        mixed = self.h[j] - self.w[j] * self.w[j + 1] * over
        know = part * part * know + rest * rest * know1 + 2.0 * part * rest * mixed
        fits = self.use[j] & self.use[j + 1] & (know > DEGENERATE * (self.g[j] + self.g[j + 1]))
        return part * u + rest * u1, know, fits


def _total(terms):
    total = 0.0
    for term in terms:
        total = total + term
    return total


class Fit:
    """The twin's fit of one tile."""

    def __init__(self, sci, gdq, pdq, gain, rnoise, model, dark, zero):
        nint, ngroup, ny, nx = sci.shape
        self.gdq, self.model, self.frame = gdq, model, (ny, nx)
        self.nint, self.m, self.npix = nint, ngroup - 1, ny * nx
        flat = (nint, ngroup, ny * nx)
        self.gain = gain.ravel().astype(np.float64)
        noise = rnoise.ravel().astype(np.float64) * self.gain
        self.single = noise * noise * 0.5 * model.noise_factor
        square = self.gain * self.gain
        self.read = self.single / model.nframes + model.rounding * square * model.noise_factor
        self.reset = model.reset_noise * model.reset_noise * square
        self.dark = np.zeros(ny * nx) if dark is None else dark.ravel().astype(np.float64) * model.group_time
        no_gain = ~(self.gain > 0) | ~np.isfinite(self.gain)
        bad = no_gain | ~(self.read >= 0) | ~np.isfinite(self.read)
        self.base = pdq.ravel() | np.where(no_gain, np.uint32(model.no_gain | DNU), np.uint32(0))
        self.base |= np.where(bad, np.uint32(DNU), np.uint32(0))
        self.flag = np.array(gdq).reshape(flat)
        value = sci.reshape(flat).astype(np.float64)
        self.value = value * self.gain
        self.good = ((self.flag & ~np.uint8(PERSISTENCE | JUMP)) == 0) & np.isfinite(value) & ~bad
        self.use = self.good[:, 1:] & self.good[:, :-1] & ((self.flag[:, 1:] & JUMP) == 0)
        self.diff = np.where(self.use, self.value[:, 1:] - self.value[:, :-1], 0.0)
        frames = np.zeros((nint, ny * nx), np.float32) if zero is None else zero.reshape(nint, -1)
        self.zero = frames.astype(np.float64)
        self.zero_good = (self.zero != 0) & np.isfinite(self.zero) & ~bad
        self.own = nint == 1 or not model.common
        self.event = np.zeros((nint, self.m, ny * nx), np.uint8)
        self.prior = np.zeros((2, nint, ny * nx))
        self.parts = (1.0, *model.fractions)
        self.close = np.zeros((nint, len(self.parts), self.m, ny * nx), bool)
        self.rank = np.zeros((nint, self.m, ny * nx), np.uint8)
        self.weak = np.zeros(self.close.shape, np.uint8)
        self.up, self.down, self.split = (
            scale(x) for x in (model.limit, model.limit_negative, model.limit_split)
        )
        self.near = np.array([scale(x) for x in model.near_limits])

    def run(self):
        """Fit; returns the planes of the two products."""
        self.lone = self._lone()
        signal = self._start()
        if self.own:
            signals = []
            for i in range(self.nint):
                signals.append(self._search(i, signal, True, CLOSER))
            self._neighbours(signals)
            for i, signal in enumerate(signals):
                self._renew(i, signal)
        else:
            for i in range(self.nint):
                self._search(i, signal, False, CLOSER)
            signal = self._agree([self._sums(i, signal) for i in range(self.nint)])
            for i in range(self.nint):
                self._search(i, signal, False, 1.0)
            self._neighbours([signal] * self.nint)
            signal = self._mean([self._sums(i, signal) for i in range(self.nint)])
            signals = [signal] * self.nint
        return self._products(signals)

    def _chain(self, i, signal, where=slice(None), use=None):
        if use is None:
            use = self._left(i, where)
        return Chain(
            use, self.diff[i][:, where], signal + self.dark[where], self.read[where], self.model.shared
        )

    def _left(self, i, where=slice(None), event=None):
        event = self.event[i][:, where] if event is None else event
        gone = event != 0
        gone[1:] |= (event[:-1] > 1) & (event[:-1] != NEGATIVE)
        return self.use[i][:, where] & ~gone

    def _lone(self):
        """Sort of the only reading of ramps without differences: 1 the first group, 2 the frame before."""
        if self.model.suppress_one_group:
            return np.zeros((self.nint, self.npix), np.uint8)
        none = ~self.use.any(axis=1)
        first = none & self.good[:, 0]
        frame = none & ~first & self.zero_good & ((self.flag[:, 0] & SATURATED) != 0)
        return first + 2 * frame.astype(np.uint8)

    def _lonely(self, i, signal):
        """Slope of a single reading, its variance, and the derivative of that by the signal."""
        model = self.model
        first = self.lone[i] == 1
        time = np.where(first, model.first_time, model.frame_time / model.group_time)
        spread = np.where(first, model.first_variance, time)
        slope = np.where(first, self.value[i, 0], self.zero[i] * self.gain) / time
        signal = np.maximum(slope, 0.0) if signal is None else signal
        square = time * time
        read = (np.where(first, self.read, self.single) + self.reset) / square
        return slope, (signal + self.dark) * (spread / square) + read, spread / square, read

    def _start(self):
        """First guess of the signal: mean of the differences without the extremes of each integration."""
        total, number = np.zeros(self.npix), np.zeros(self.npix)
        for i in range(self.nint):
            count, sum_ = np.zeros(self.npix), np.zeros(self.npix)
            low, high = np.full(self.npix, np.inf), np.full(self.npix, -np.inf)
            for j in range(self.m):
                ok, d = self.use[i, j], self.diff[i, j]
                count, sum_ = count + ok, sum_ + d
                low, high = np.where(ok & (d < low), d, low), np.where(ok & (d > high), d, high)
            trimmed = np.where(count > 2.0, sum_ - high - low, low)
            left = np.where(count > 2.0, count - 2.0, 1.0)
            total = np.where(count > 0.0, total + trimmed, total)
            number = np.where(count > 0.0, number + left, number)
        mean = total / number
        return np.where(mean > 0.0, mean, 0.0)

    def _sums(self, i, signal):
        """Weight of an integration and its weighted slope."""
        chain = self._chain(i, signal)
        slope, variance, _, _ = self._lonely(i, signal)
        lone = self.lone[i] > 0
        weight = np.where(lone, 1.0 / variance, chain.weight)
        return weight, np.where(lone, slope * weight, chain.sum)

    @staticmethod
    def _mean(sums):
        mean = _total(b for _, b in sums) / _total(a for a, _ in sums)
        return np.where(mean > 0.0, mean, 0.0)

    def _agree(self, sums):
        """Find the common signal, and for each integration what the others say of it."""
        weight, product = _total(a for a, _ in sums), _total(b for _, b in sums)
        square, number = _total(a * a for a, _ in sums), _total((a > 0.0) * 1.0 for a, _ in sums)
        mean = product / weight
        chi2 = np.zeros_like(mean)
        for a, b in sums:
            away = b / a - mean
            chi2 = np.where(a > 0.0, chi2 + a * away * away, chi2)
        vary = (chi2 - (number - 1.0)) / (weight - square / weight)
        vary = np.where(vary > 0.0, vary, 0.0)
        for i, (a, b) in enumerate(sums):
            others = weight - a
            ok = (number - (a > 0.0) > 0.0) & (others > 0.0)
            trust = np.where(ok, 1.0 / (vary + 1.0 / others), 0.0)
            self.prior[0, i] = trust
            self.prior[1, i] = np.where(ok, trust * ((product - b) / others), 0.0)
        return np.where(mean > 0.0, mean, 0.0)

    def _level(self, i, chain, where=slice(None)):
        """Best slope with what other integrations say, and the inverse of its weight."""
        over = 1.0 / (chain.weight + self.prior[0, i][where])
        return (chain.sum + self.prior[1, i][where]) * over, over

    def _search(self, i, signal, own, close):
        """Look for jumps in an integration; returns the signal behind its covariance."""
        chain = self._chain(i, signal, use=self.use[i])
        if own:
            signal = _renewed(chain, signal)
            chain = self._chain(i, signal, use=self.use[i])
        self.event[i] = 0
        slope, over = self._level(i, chain)
        suspect = np.zeros(self.npix, bool)
        for k, j in self._places():
            u, know, ok = chain.template(j, self.parts[k], slope, over)
            suspect |= ok & (u * u * self._scale(k, u) > close * close * know)
            self.weak[i, k, j] = _weakness(u, know, ok)
        found = np.nonzero(suspect)[0]
        if own:
            signal = _renewed(chain, signal)
        if len(found):
            events, signals = self._settle(i, found, signal[found], own)
            self.event[i][:, found] = events
            signal = signal.copy()
            signal[found] = signals
            chain = self._chain(i, signals, found)
            slope, over = self._level(i, chain, found)
            for k, j in self._places():
                self.weak[i, k, j, found] = _weakness(*chain.template(j, self.parts[k], slope, over))
        return signal

    def _places(self):
        for j in range(self.m):
            for k in range(len(self.parts)):
                if k == 0 or j + 1 < self.m:
                    yield k, j

    def _scale(self, k, u):
        return np.where(u > 0.0, self.split if k else self.up, 0.0 if k else self.down)

    def _median(self, where, default):
        """Median of the differences of the first integrations, or the default for none."""
        first = slice(0, -(-ENOUGH // self.m))
        use = self.use[first][:, :, where].reshape(-1, len(where))
        values = np.sort(np.where(use, self.diff[first][:, :, where].reshape(use.shape), np.inf), axis=0)
        count = use.sum(axis=0)
        column = np.arange(len(where))
        low, high = values[np.maximum(count - 1, 0) // 2, column], values[count // 2 % len(values), column]
        return np.where(count > 0, (low + high) * 0.5, default)

    def _settle(self, i, where, signal, own):
        """Add and drop jumps of single pixels until none is left to add, and none to drop."""
        middle = self._median(where, signal)
        if own:
            signal = np.where(middle > 0.0, middle, 0.0)
        use, diff = self.use[i][:, where], self.diff[i][:, where]
        event = np.zeros(use.shape, np.uint8)
        center = (signal + self.dark[where]) * (1.0 - 2.0 * self.model.shared) + 2.0 * self.read[where]
        reach = np.inf if math.isinf(self.model.limit) else self.model.limit * np.sqrt(center)
        event[use & (diff - middle > reach)] = 1
        least = np.argmin(np.where(use, diff, np.inf), axis=0)
        full = (use & (event == 0)).sum(axis=0) == 0
        # Other integrations can tell that nothing of this one is to be believed.
        if self.own:
            event[least[full], np.nonzero(full)[0]] = 0
        active = np.arange(len(where))
        for _ in range(2 * self.m + 8):
            at = where[active]
            chain = self._chain(i, signal[active], at, self._left(i, at, event[:, active]))
            if own:
                signal[active] = _renewed(chain, signal[active])
                chain = self._chain(i, signal[active], at, self._left(i, at, event[:, active]))
            dropped = self._drop(i, at, event, active, signal)
            best, place, code = self._best(i, at, chain)
            added = ~dropped & (best > 1.0)
            event[place[added], active[added]] = code[added]
            active = active[dropped | added]
            if not len(active):
                break
        self._join(i, where, event, signal)
        return event, signal

    def _drop(self, i, at, event, active, signal):
        """Drop the least significant jump where it is below its limit; returns where one was."""
        least = np.full(len(active), np.inf)
        place = np.zeros(len(active), np.intp)
        for j in range(self.m):
            code = event[j, active]
            some = np.nonzero(code)[0]
            if not len(some):
                continue
            trial = event[:, active[some]].copy()
            trial[j] = 0
            where = at[some]
            chain = self._chain(i, signal[active[some]], where, self._left(i, where, trial))
            slope, over = self._level(i, chain, where)
            score = np.zeros(len(some))
            for k in range(len(self.parts)):
                mine = (code[some] == k + 1) | ((k == 0) & (code[some] == NEGATIVE))
                if k and j + 1 == self.m:
                    continue
                u, know, ok = chain.template(j, self.parts[k], slope, over)
                score = np.where(mine & ok, u * u * self._scale(k, u) / know, score)
            lower = score < least[some]
            least[some[lower]], place[some[lower]] = score[lower], j
        drop = least < 1.0
        event[place[drop], active[drop]] = 0
        return drop

    def _best(self, i, at, chain, near=False):
        """Most significant jump that is not in yet: its squared significance in limits, place and code."""
        slope, over = self._level(i, chain, at)
        best, place, code = np.zeros(len(at)), np.zeros(len(at), np.intp), np.zeros(len(at), np.uint8)
        number = chain.use.sum(axis=0)
        for k, j in self._places():
            u, know, ok = chain.template(j, self.parts[k], slope, over)
            if self.own:
                ok &= number > 1 + (k > 0)
            factor = self._scale(k, u)
            if near:
                ok &= self.close[i, k, j, at]
                factor = np.where(u > 0.0, self.near[self.rank[i, j, at]], 0.0)
            score = np.where(ok, u * u * factor / know, 0.0)
            higher = score > best
            best = np.where(higher, score, best)
            place = np.where(higher, j, place)
            code = np.where(higher, np.where(u > 0.0, k + 1, NEGATIVE), code)
        return best, place, code

    def _join(self, i, where, event, signal):
        """Make two jumps in a row one that averaging has split."""
        if len(self.parts) == 1:
            return
        for j in range(self.m - 1):
            both = np.nonzero((event[j] == 1) & (event[j + 1] == 1))[0]
            if not len(both):
                continue
            at = where[both]
            here, then = (self.diff[i, j + e, at] - signal[both] for e in (0, 1))
            share = here / (here + then)
            away, code = np.full(len(both), np.inf), np.ones(len(both), np.uint8)
            for k in range(1, len(self.parts)):
                far = np.abs(share - self.parts[k])
                code = np.where(far < away, np.uint8(k + 1), code)
                away = np.where(far < away, far, away)
            event[j, both] = code
            event[j + 1, both[code > 1]] = 0

    def _neighbours(self, signals):
        """Look at neighbours that are below the limits each but not together, and at those of jumps."""
        if not math.isinf(self.model.limit_pair):
            for i in range(self.nint):
                marked = np.zeros(self.npix, bool)
                for k, j in self._places():
                    weak = self.weak[i, k, j].reshape(self.frame)
                    other = _around(weak)
                    pair = (weak > 0) & (other > 0) & (weak + other.astype(np.intp) >= self.model.pair_bytes)
                    self.close[i, k, j] |= pair.ravel()
                    marked |= pair.ravel()
                self._look(i, signals[i], marked)
        if not math.isinf(self.model.limit_near):
            for i in range(self.nint):
                self._look(i, signals[i], self._mark(i, signals[i]))

    def _mark(self, i, signal):
        """Mark the neighbours of pixels with a jump; returns where there are any."""
        center = (signal + self.dark) * (1.0 - 2.0 * self.model.shared) + 2.0 * self.read
        marked = np.zeros(self.npix, bool)
        for j in range(self.m):
            code = self.event[i, j]
            size = self.value[i, j + 1] - self.value[i, j] - signal
            if j + 1 < self.m:
                then = size + (self.value[i, j + 2] - self.value[i, j + 1] - signal)
                size = np.where(code > 1, then, size)
            rank, bound = np.ones(self.npix, np.uint8), 64.0
            for _ in range(CLASSES - 3):
                rank += size * size > bound * center
                bound *= 4.0
            for k in range(len(self.parts)):
                jump = code == k + 1
                if not jump.any():
                    continue
                # The lowest class is the highest of what is left to the last.
                best = _around(np.where(jump, CLASSES - rank, 0).reshape(self.frame)).ravel()
                near = best > 0
                known = self.close[i, :, j].any(axis=0)
                here = (CLASSES - best).astype(np.uint8)
                self.rank[i, j] = np.where(
                    near, np.where(known, np.minimum(here, self.rank[i, j]), here), self.rank[i, j]
                )
                self.close[i, k, j] |= near
                marked |= near
        return marked

    def _look(self, i, signal, marked):
        """Add the jumps of marked pixels, one after the other."""
        active = np.nonzero(marked)[0]
        while len(active):
            chain = self._chain(i, signal[active], active)
            best, place, code = self._best(i, active, chain, True)
            active, place, code = (x[best > 1.0] for x in (active, place, code))
            self.event[i][place, active] = code

    def _renew(self, i, signal):
        """Set the signal behind the covariance of a single integration where jumps have changed it."""
        where = np.nonzero(self.event[i].any(axis=0))[0]
        if len(where):
            signal[where] = _renewed(self._chain(i, signal[where], where), signal[where])

    def _products(self, signals):
        model = self.model
        unit = self.gain * model.group_time
        over_unit2 = 1.0 / (unit * unit)
        shape = (self.nint, self.npix)
        weight, slope, spread, read = (np.zeros(shape) for _ in range(4))
        for i, signal in enumerate(signals):
            chain = self._chain(i, signal)
            inverse = 1.0 / chain.weight
            square, cross = chain.forms()
            weight[i], slope[i] = chain.weight, chain.sum * inverse
            spread[i] = ((1.0 - 2.0 * model.shared) * square + 2.0 * model.shared * cross) * inverse * inverse
            read[i] = self.read * (2.0 * square - 2.0 * cross) * inverse * inverse
            if model.unbiased:
                slope[i] = slope[i] + self._taken(i, chain, inverse)
            one, variance, one_spread, one_read = self._lonely(i, None if self.own else signal)
            lone = self.lone[i] > 0
            weight[i], slope[i] = np.where(lone, 1.0 / variance, weight[i]), np.where(lone, one, slope[i])
            spread[i], read[i] = np.where(lone, one_spread, spread[i]), np.where(lone, one_read, read[i])
        signal = np.array(signals) + self.dark
        ok = (weight > 0.0) & ((self.base & np.uint32(DNU)) == 0)
        total, product, spreads, reads, poissons = (np.zeros(self.npix) for _ in range(5))
        for i in range(self.nint):
            square = weight[i] * weight[i]
            level = (
                np.where(self.lone[i] > 0, np.maximum(slope[i], 0.0) + self.dark, signal[i])
                if self.own
                else signal[i]
            )
            for sum_, term in (
                (total, weight[i]), (product, weight[i] * slope[i]), (spreads, square * spread[i]),
                (reads, square * read[i]), (poissons, square * (level * spread[i])),
            ):  # fmt: skip
                np.add(sum_, term, out=sum_, where=ok[i])
        dq = np.empty(shape, np.uint32)
        ints = {name: np.zeros(shape, np.float32) for name in PLANES}
        flags = self._flags()
        for i in range(self.nint):
            level = (
                np.where(self.lone[i] > 0, np.maximum(slope[i], 0.0) + self.dark, signal[i])
                if self.own
                else signal[i]
            )
            share = weight[i] / total if not self.own else np.ones(self.npix)
            widen = spread[i] * spread[i] * (share + 1.75 * share * share) if model.small_counts else 0.0
            values = (slope[i], level * spread[i] + widen, read[i])
            dq[i] = flags[i] | np.where(ok[i], np.uint32(0), np.uint32(DNU))
            self._store({name: plane_[i] for name, plane_ in ints.items()}, values, ok[i], unit, over_unit2)
        over = 1.0 / total
        fitted = ok.any(axis=0)
        spread = spreads * over * over
        widen = spread * spread * 2.75 if model.small_counts else 0.0
        rate = {name: np.zeros(self.npix, np.float32) for name in PLANES}
        values = (product * over, poissons * over * over + widen, reads * over * over)
        self._store(rate, values, fitted, unit, over_unit2)
        rate["DQ"] = np.bitwise_or.reduce(flags, axis=0) | np.where(fitted, np.uint32(0), np.uint32(DNU))
        ints["DQ"] = dq
        return (
            {name: v.reshape(self.frame) for name, v in rate.items()},
            {name: v.reshape(self.nint, *self.frame) for name, v in ints.items()},
        )

    @staticmethod
    def _store(planes, values, ok, unit, over_unit2):
        slope, poisson, read = values[0] / unit, values[1] * over_unit2, values[2] * over_unit2
        planes["SCI"][:] = np.where(ok, slope, np.nan)
        planes["ERR"][:] = np.where(ok, np.sqrt(poisson + read), 0.0)
        planes["VAR_POISSON"][:] = np.where(ok, poisson, 0.0)
        planes["VAR_RNOISE"][:] = np.where(ok, read, 0.0)

    def _taken(self, i, chain, inverse):
        """Return what the search takes from the slope of a ramp without jumps, on average."""
        model = self.model
        _, over = self._level(i, chain)
        tails = model.tails
        near, down = np.array([tail(x) for x in model.near_limits]), tail(model.limit_negative)
        total = np.zeros(self.npix)
        for k, j in self._places():
            _, know, ok = chain.template(j, self.parts[k], 0.0, over)
            part = self.parts[k]
            weight = chain.w[j] if k == 0 else part * chain.w[j] + (1.0 - part) * chain.w[j + 1]
            said = self.close[i, k, j] & (self.rank[i, j] > 0)
            each = np.where(said, near[self.rank[i, j]], tails[1 if k else 0]) - (down if k == 0 else 0.0)
            # Single precision is enough for what is a small part of the noise.
            share = weight.astype(np.float32) / np.sqrt(know.astype(np.float32))
            total = np.where(ok, total + each * share, total)
        return total * inverse

    def _flags(self):
        """Flag the groups of jumps; returns the pixel flags of each integration."""
        for i in range(self.nint):
            event = self.event[i]
            jump = event != 0
            jump[1:] |= (event[:-1] > 1) & (event[:-1] != NEGATIVE)
            self.flag[i, 1:] |= np.where(jump, np.uint8(JUMP), np.uint8(0))
        self.gdq[...] = self.flag.reshape(self.gdq.shape)
        seen = np.bitwise_or.reduce(self.flag, axis=1).astype(np.uint32)
        return self.base | (seen & np.uint32(JUMP | PERSISTENCE | SATURATED))


def _renewed(chain, signal):
    slope = chain.sum / chain.weight
    return np.where(chain.weight > 0.0, np.where(slope > 0.0, slope, 0.0), signal)


def _around(values):
    """Return the largest of the eight values around each pixel."""
    ny, nx = values.shape
    wide = np.zeros((ny + 2, nx + 2), values.dtype)
    wide[1:-1, 1:-1] = values
    out = np.zeros_like(values)
    for dy in range(3):
        for dx in range(3):
            if dy != 1 or dx != 1:
                np.maximum(out, wide[dy : dy + ny, dx : dx + nx], out=out)
    return out


def _weakness(u, know, fits):
    """Squared significance of a rise in a byte, 0 below the least."""
    square = np.where(fits & (u > 0.0), u * u, 0.0)
    ratio = square.astype(np.float32) * np.float32(STEPS) / know.astype(np.float32)
    return np.minimum(np.where(ratio >= LEAST, ratio, np.float32(0.0)), np.float32(255.0)).astype(np.uint8)
