// The CUDA backend: Hopper GPUs (compute capability 9.0), one stream, plain device memory.
//
// Values agree with `cpu` as far as f32 sums in another order can; index scores and selections are
// the CPU's bit for bit.  What each kernel costs is counted in docs/kernels/cuda_*.md.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "precis/status.h"

#include "ops/backend.h"

namespace precis {

struct CudaDeviceInfo {
  std::string name;
  int compute_major = 0;
  int compute_minor = 0;
  int n_multiprocessors = 0;
  std::int64_t total_bytes = 0;
  std::int64_t free_bytes = 0;

  bool supported() const { return compute_major == 9 && compute_minor == 0; }
};

/// The devices that the driver shows.
///
/// Errors    kUnsupported — no driver, one older than the CUDA runtime, or no device
Result<std::vector<CudaDeviceInfo>> list_cuda_devices();

/// Makes a backend on device `idx`.
///
/// Errors    kUnsupported — as list_cuda_devices, or the device is not a Hopper GPU;
///           kBudget — it has no memory left for a context and the first workspace
Result<std::unique_ptr<Backend>> make_cuda_backend(int idx = 0);

}  // namespace precis
