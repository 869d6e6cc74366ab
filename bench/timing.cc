#include "bench/timing.h"

#include <algorithm>
#include <chrono>

namespace precis::bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kOtherBytes = 96 << 20;
constexpr std::size_t kLineBytes = 64;

double quantile(const std::vector<double>& sorted, double share) {
  return sorted[static_cast<std::size_t>(share * static_cast<double>(sorted.size() - 1))];
}

}  // namespace

Timer::Timer(TimingOptions options) : options_(options), other_memory_(kOtherBytes, 1) {}

void Timer::flush_caches() {
  // Written, not only read: a line that a core owns leaves no stale copy behind in another one.
  for (std::size_t i = 0; i < other_memory_.size(); i += kLineBytes) sink_ += ++other_memory_[i];
}

Times Timer::time(const std::function<void()>& call, CacheState cache) {
  call();
  std::vector<double> seconds;
  double total = 0;
  while (static_cast<int>(seconds.size()) < options_.min_calls ||
         (total < options_.min_seconds && static_cast<int>(seconds.size()) < options_.max_calls)) {
    if (cache == CacheState::kCold) flush_caches();
    const Clock::time_point start = Clock::now();
    call();
    seconds.push_back(std::chrono::duration<double>(Clock::now() - start).count());
    total += seconds.back();
  }
  std::ranges::sort(seconds);
  return {static_cast<int>(seconds.size()), quantile(seconds, 0.1), quantile(seconds, 0.5),
          quantile(seconds, 0.9)};
}

}  // namespace precis::bench
