// The bandwidth that a copy within a GPU's memory reaches: what floors are made of.
#pragma once

#include <algorithm>
#include <cstdint>

#include <cuda_runtime_api.h>

#include "base/clock.h"
#include "ops/backend.h"

namespace precis::bench {

/// Bytes read and written a second, the best of ten copies of 1 GiB.
inline double copy_bytes_per_s(Backend& backend) {
  constexpr std::int64_t kBytes = std::int64_t{1} << 30;
  const Buffer from = backend.allocate(kBytes);
  const Buffer to = backend.allocate(kBytes);
  double best = 1e30;
  for (int i = 0; i < 10; ++i) {
    cudaDeviceSynchronize();
    const Clock::time_point start = Clock::now();
    cudaMemcpyAsync(to.data(), from.data(), kBytes, cudaMemcpyDeviceToDevice, nullptr);
    cudaDeviceSynchronize();
    best = std::min(best, seconds_since(start));
  }
  return 2 * kBytes / best;
}

}  // namespace precis::bench
