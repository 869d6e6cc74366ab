// What a backend was asked to do, added up by operation: the executed side of a prediction.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "ops/cost.h"

namespace precis {

/// Calls and cost by operation, in order of first call.
///
/// Threads   one caller at a time, as the backend that adds to it
class OpCounter {
 public:
  struct Entry {
    std::string_view op;  // "linear", "attend", …
    std::int64_t n_calls = 0;
    Cost cost;
  };

  /// Requires  `op` outlives the counter
  void add(std::string_view op, const Cost& cost) {
    for (Entry& entry : entries_) {
      if (entry.op == op) return add(entry, cost);
    }
    entries_.push_back({op, 0, {}});
    add(entries_.back(), cost);
  }

  const std::vector<Entry>& entries() const { return entries_; }
  Cost total() const {
    Cost sum;
    for (const Entry& entry : entries_) sum += entry.cost;
    return sum;
  }
  void reset() { entries_.clear(); }

 private:
  static void add(Entry& entry, const Cost& cost) {
    ++entry.n_calls;
    entry.cost += cost;
  }

  std::vector<Entry> entries_;
};

}  // namespace precis
