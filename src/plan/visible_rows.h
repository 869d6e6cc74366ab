// Sums of visible rows in closed form: at a million tokens a loop over positions is what a plan
// would spend its time on.
#pragma once

#include <algorithm>
#include <cstdint>

namespace precis {

/// Σ over positions p in [0, end) of min(cap, (p + 1) / ratio).
///
/// Requires  ratio, cap >= 1; end >= 0
inline double sum_visible(std::int64_t end, std::int64_t ratio, std::int64_t cap) {
  // Rows appear at every ratio-th position; q blocks are finished before `end`.
  const std::int64_t uncapped_end = end / ratio < cap ? end : cap * ratio;
  const std::int64_t q = uncapped_end / ratio;
  const double uncapped =
      static_cast<double>(ratio) * static_cast<double>(q) * static_cast<double>(q - 1) / 2 +
      static_cast<double>(q) * static_cast<double>(uncapped_end - q * ratio + 1);
  // With no cap in reach, cap may be too large to multiply.
  return end == uncapped_end
             ? uncapped
             : uncapped + static_cast<double>(cap) * static_cast<double>(end - uncapped_end);
}

/// The same over positions [begin, end).
inline double sum_visible(std::int64_t begin, std::int64_t end, std::int64_t ratio,
                          std::int64_t cap) {
  return sum_visible(end, ratio, cap) - sum_visible(begin, ratio, cap);
}

}  // namespace precis
