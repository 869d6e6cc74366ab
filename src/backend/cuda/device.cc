#include "backend/cuda/device.h"

#include <algorithm>
#include <string>

#include <fmt/format.h>

#include "base/check.h"

namespace precis::cuda {

void check_cuda(cudaError_t status, const char* file, int line, const char* expression) {
  if (status == cudaSuccess) [[likely]] {
    return;
  }
  check_failed(file, line, expression,
               std::string(cudaGetErrorName(status)) + ", " + cudaGetErrorString(status));
}

Error device_error(const std::string& device, cudaError_t status) {
  cudaGetLastError();  // a later call starts without this one's error
  switch (status) {
    case cudaErrorNoDevice:
      return {ErrorCode::kUnsupported, fmt::format("{}: want a GPU, found none", device)};
    case cudaErrorInsufficientDriver: {
      int version = 0;
      cudaDriverGetVersion(&version);
      return {ErrorCode::kUnsupported,
              version == 0 ? fmt::format("{}: want a GPU with its driver, found no driver", device)
                           : fmt::format("{}: want a driver for CUDA {}.{}, found one for {}.{}",
                                         device, CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10,
                                         version / 1000, version % 1000 / 10)};
    }
    case cudaErrorDevicesUnavailable:
      return {ErrorCode::kBudget,
              fmt::format("{}: another process has it for itself (nvidia-smi shows which), or its "
                          "compute mode forbids use",
                          device)};
    case cudaErrorMemoryAllocation:
      return {ErrorCode::kBudget,
              fmt::format("{}: other processes have left no memory for a context", device)};
    default:
      return {ErrorCode::kUnsupported, fmt::format("{}: {}", device, cudaGetErrorString(status))};
  }
}

Result<void> Workspace::start(DevicePool& pool) {
  pool_ = &pool;
  PRECIS_TRY(pool.reserve(kBytes));
  blocks_.push_back(pool.allocate(kBytes));
  return {};
}

void* Workspace::take_bytes(std::size_t n_bytes) {
  constexpr std::size_t kAlignment = 256;
  const std::size_t padded =
      std::max((n_bytes + kAlignment - 1) / kAlignment, std::size_t{1}) * kAlignment;
  std::size_t begin = 0;
  for (const Buffer& block : blocks_) {
    const std::size_t end = begin + block.n_bytes();
    const std::size_t at = std::max(used_, begin);
    if (at + padded <= end) {
      used_ = at + padded;
      return block.data() + (at - begin);
    }
    begin = end;
  }
  blocks_.push_back(pool_->allocate(padded));
  used_ = begin + padded;
  return blocks_.back().data();
}

int* Counters::first(std::int64_t n, DevicePool& pool) {
  const std::size_t n_bytes = static_cast<std::size_t>(n) * sizeof(int);
  const std::size_t most = blocks_.empty() ? 0 : blocks_.back().n_bytes();
  if (n_bytes > most) blocks_.push_back(pool.allocate(std::max(n_bytes, 2 * most)));
  return blocks_.back().as<int>();
}

}  // namespace precis::cuda
