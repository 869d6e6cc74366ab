// How FLOP of different precision become FP8 equivalents.
#pragma once

#include "precis/planner.h"

#include "plan/work.h"

namespace precis {

FlopByClass by_class(const FlopCount& flop);

/// Equivalent FP8 FLOP of one part; element-wise work counts nothing, as in the published figures.
double equivalent_flop(Part part, const FlopCount& flop, const FlopDefinition& definition);

/// Sum over all parts.
double equivalent_flop(const Work& work, const FlopDefinition& definition);

}  // namespace precis
