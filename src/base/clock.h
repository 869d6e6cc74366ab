// The clock of every measurement.
#pragma once

#include <chrono>

namespace precis {

using Clock = std::chrono::steady_clock;

inline double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

}  // namespace precis
