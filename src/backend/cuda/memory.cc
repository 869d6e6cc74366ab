#include "backend/cuda/memory.h"

#include <algorithm>
#include <limits>
#include <utility>

#include <fmt/format.h>

#include "backend/cuda/device.h"
#include "base/check.h"

namespace precis::cuda {
namespace {

constexpr double kGiB = 1024.0 * 1024 * 1024;

double gib(std::int64_t n_bytes) {
  return static_cast<double>(n_bytes) / kGiB;
}

std::int64_t free_on_device() {
  std::size_t free_bytes = 0;
  std::size_t total_bytes = 0;
  if (cudaMemGetInfo(&free_bytes, &total_bytes) != cudaSuccess) cudaGetLastError();
  return static_cast<std::int64_t>(free_bytes);
}

}  // namespace

DevicePool::~DevicePool() {
  if (pool_ != nullptr) cudaMemPoolDestroy(pool_);
}

Result<void> DevicePool::start(int device_idx, cudaStream_t stream, std::string device) {
  stream_ = stream;
  device_ = std::move(device);
  cudaMemPoolProps properties{};
  properties.allocType = cudaMemAllocationTypePinned;
  properties.location = {cudaMemLocationTypeDevice, device_idx};
  const cudaError_t status = cudaMemPoolCreate(&pool_, &properties);
  if (status != cudaSuccess) return device_error(device_, status);
  std::uint64_t keep_all = std::numeric_limits<std::uint64_t>::max();
  PRECIS_CUDA_CHECK(cudaMemPoolSetAttribute(pool_, cudaMemPoolAttrReleaseThreshold, &keep_all));
  return {};
}

std::int64_t DevicePool::attribute(cudaMemPoolAttr which) const {
  std::uint64_t value = 0;
  PRECIS_CUDA_CHECK(cudaMemPoolGetAttribute(pool_, which, &value));
  return static_cast<std::int64_t>(value);
}

Buffer DevicePool::allocate(std::size_t n_bytes) {
  void* data = nullptr;
  const cudaError_t status =
      cudaMallocFromPoolAsync(&data, std::max<std::size_t>(n_bytes, 1), pool_, stream_);
  if (status == cudaErrorMemoryAllocation) {
    check_failed(__FILE__, __LINE__, "device memory",
                 fmt::format("{}: want {:.2f} GiB more, {:.2f} GiB are free", device_,
                             gib(static_cast<std::int64_t>(n_bytes)), gib(free_bytes())));
  }
  PRECIS_CUDA_CHECK(status);
  PRECIS_CUDA_CHECK(cudaMemsetAsync(data, 0, n_bytes, stream_));
  // Whoever gets the memory next uses it on the same stream, behind what runs now.
  return Buffer(data, n_bytes, [](void* memory, std::size_t) { cudaFree(memory); });
}

Result<void> DevicePool::reserve(std::int64_t n_bytes) {
  const std::int64_t missing = n_bytes - attribute(cudaMemPoolAttrUsedMemCurrent);
  if (missing <= 0) return {};
  void* data = nullptr;
  const cudaError_t status =
      cudaMallocFromPoolAsync(&data, static_cast<std::size_t>(missing), pool_, stream_);
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    return Error{ErrorCode::kBudget, fmt::format("{}: want {:.2f} GiB more, {:.2f} GiB are free",
                                                 device_, gib(missing), gib(free_bytes()))};
  }
  PRECIS_CUDA_CHECK(status);
  PRECIS_CUDA_CHECK(cudaFreeAsync(data, stream_));
  PRECIS_CUDA_CHECK(cudaStreamSynchronize(stream_));
  return {};
}

std::int64_t DevicePool::free_bytes() const {
  return free_on_device() + attribute(cudaMemPoolAttrReservedMemCurrent) -
         attribute(cudaMemPoolAttrUsedMemCurrent);
}

}  // namespace precis::cuda
