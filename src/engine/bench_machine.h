// From a measured machine to the rates by which an operation is judged.
#pragma once

#include <string_view>

#include "precis/bench.h"

#include "ops/cost.h"

namespace precis {

/// The rates of `machine` on one instruction set and thread count.
///
/// FP8, FP4 and bf16 products run at the f32 rate: the engine adds f32 products in one fixed order
/// (docs/numerics.md), which the bf16 unit cannot, as it rounds pairs first.  Bytes move at the
/// rate of the smallest measured working set that holds `working_set_bytes`.
/// Errors    kUnsupported — the machine was not measured on that instruction set or thread count
Result<Peak> peak_of(const Machine& machine, std::string_view isa, int n_threads,
                     double working_set_bytes);

}  // namespace precis
