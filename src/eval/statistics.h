// Intervals and tests of scores.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "precis/eval.h"

namespace precis {

/// The 95 % interval of a share `p` out of `n` trials; 0 … 1 for no trial.
///
/// Source    Wilson 1927; p need not be k / n, so that shares of partial credit fit too
Interval wilson_interval(double p, std::int64_t n);

/// The 95 % interval of a mean by drawing whole groups again: the questions of one haystack share
/// its luck.  2,000 draws from a fixed seed; equal ends for fewer than two groups.
///
/// Requires  no empty group
Interval bootstrap_interval(std::span<const std::vector<double>> groups);

/// The chance that, of n_a + n_b questions on which two subjects differ, a split at least this
/// uneven comes from a fair coin; 1 for none.
double mcnemar_p(std::int64_t n_a, std::int64_t n_b);

}  // namespace precis
