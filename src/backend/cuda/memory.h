// Device memory of one backend: a pool that can be filled before it is needed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include <cuda_runtime_api.h>

#include "precis/status.h"

#include "tensor/buffer.h"

namespace precis::cuda {

/// Memory that is ordered by one stream.  What was set aside stays with the process until the end.
class DevicePool {
 public:
  DevicePool() = default;
  DevicePool(const DevicePool&) = delete;
  DevicePool& operator=(const DevicePool&) = delete;
  ~DevicePool();

  /// `device` is the name for messages.
  Result<void> start(int device_idx, cudaStream_t stream, std::string device);

  /// Zeroed.  Ends the program where the device has no more: the engine reserves what it plans.
  Buffer allocate(std::size_t n_bytes);
  /// See Backend::reserve.
  Result<void> reserve(std::int64_t n_bytes);
  /// Free on the device, or set aside and not used.
  std::int64_t free_bytes() const;

 private:
  std::int64_t attribute(cudaMemPoolAttr which) const;

  cudaMemPool_t pool_ = nullptr;
  cudaStream_t stream_ = nullptr;
  std::string device_;
};

}  // namespace precis::cuda
