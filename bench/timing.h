// Times of repeated calls, and the memory traffic between them.
#pragma once

#include <functional>
#include <vector>

#include "base/threads.h"
#include "bench/shapes.h"

namespace precis::bench {

struct Times {
  int n = 0;
  double p10_s = 0;
  double median_s = 0;
  double p90_s = 0;
};

struct TimingOptions {
  int min_calls = 5;
  int max_calls = 1000;
  double min_seconds = 0.2;  // of all timed calls together
};

/// Runs calls one by one under a clock.
class Timer {
 public:
  explicit Timer(TimingOptions options);

  /// The first call is not counted.  With kCold, other memory is read before every call, more than
  /// any cache of today's processors holds for two cores.
  Times time(const std::function<void()>& call, CacheState cache);

 private:
  void flush_caches();

  TimingOptions options_;
  std::vector<unsigned char> other_memory_;
  unsigned sink_ = 0;
};

}  // namespace precis::bench
