// Scoring of index rows by storage; planning, candidate lists and their merge are the same for all.
#pragma once

#include <cstddef>
#include <cstdint>

#include "backend/cpu/dispatch.h"
#include "backend/cpu/top_rows.h"
#include "ops/select.h"

namespace precis {

struct SelectKernel {
  /// Selects for tokens first … first + n − 1 among rows [begin, end).  `scratch` has
  /// scratch_bytes(a, n); `best` [n] gathers the candidates.
  void (*run)(const SelectArgs& a, std::int64_t first, int n, std::int64_t begin, std::int64_t end,
              std::byte* scratch, TopRows* best);
  std::size_t (*scratch_bytes)(const SelectArgs& a, int n_tokens);
};

SelectKernel e4m3_select_kernel(Isa isa);

}  // namespace precis
