// How products are cut into tasks, and how many tasks make a chunk worth handing to a thread.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/threads.h"

namespace precis {

inline constexpr int kTilePanels = 2;
inline constexpr int kTileOutputs = 32;  // outputs of a task: kTilePanels panels of 16
// Rows of a task.  Decoding a block of weights costs about as much as multiplying 5 rows with it,
// so 96 rows keep it near 5 %; their results, 12 KiB, share the L1 cache with the decoded block.
inline constexpr int kTileRows = 96;

/// Nanoseconds, roughly, of one core for `n_weights` weights times n_rows rows: 8 decoded weights
/// and 40 multiply-adds in each (AVX-512 at 3.7 GHz).  Only the cutting depends on it.
inline double product_ns(std::int64_t n_weights, std::int64_t n_rows) {
  return static_cast<double>(n_weights) * (1.0 / 8 + static_cast<double>(n_rows) / 40);
}

/// Tasks for each chunk so that a chunk takes some 25 µs; waking a thread costs a few.
inline std::int64_t grain_for(double task_ns) {
  constexpr double kChunkNs = 25'000;
  return static_cast<std::int64_t>(std::clamp(kChunkNs / std::max(task_ns, 1.0), 1.0, 1e9));
}

/// Calls body(i) for every i in [0, n), in chunks that suit items of `item_ns` each.
template <typename Body>
void for_each(ThreadPool& threads, std::int64_t n, double item_ns, const Body& body) {
  threads.parallel_for(n, grain_for(item_ns), [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t i = begin; i < end; ++i) body(i);
  });
}

}  // namespace precis
