// How FLOP of different precision become FP8 equivalents.
#pragma once

#include "precis/planner.h"

#include "plan/work.h"

namespace precis {

inline FlopByClass by_class(const FlopCount& flop) {
  return {.fp8 = flop.fp8,
          .fp4 = flop.fp4,
          .bf16 = flop.bf16,
          .f32 = flop.f32,
          .index = flop.int8,
          .element = flop.element};
}

/// Equivalent FP8 FLOP of one part; element-wise work counts nothing, as in the published figures.
double equivalent_flop(Part part, const FlopCount& flop, const FlopDefinition& definition);

/// Sum over all parts.
double equivalent_flop(const Work& work, const FlopDefinition& definition);

}  // namespace precis
