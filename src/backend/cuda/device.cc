#include "backend/cuda/device.h"

#include <algorithm>
#include <string>

#include "base/check.h"

namespace precis::cuda {

void check_cuda(cudaError_t status, const char* file, int line, const char* expression) {
  if (status == cudaSuccess) [[likely]] {
    return;
  }
  check_failed(file, line, expression,
               std::string(cudaGetErrorName(status)) + ", " + cudaGetErrorString(status));
}

Workspace::~Workspace() {
  for (const Block& block : blocks_) cudaFree(block.data);
}

void* Workspace::take_bytes(std::size_t n_bytes) {
  constexpr std::size_t kAlignment = 256;
  constexpr std::size_t kMinBlock = std::size_t{8} << 20;
  const std::size_t padded =
      std::max((n_bytes + kAlignment - 1) / kAlignment, std::size_t{1}) * kAlignment;
  std::size_t begin = 0;
  for (const Block& block : blocks_) {
    const std::size_t end = begin + block.n_bytes;
    const std::size_t at = std::max(used_, begin);
    if (at + padded <= end) {
      used_ = at + padded;
      return static_cast<std::byte*>(block.data) + (at - begin);
    }
    begin = end;
  }
  // Doubling keeps the number of blocks, and of calls that allocate, logarithmic.
  Block block{nullptr, std::max({padded, begin, kMinBlock})};
  PRECIS_CUDA_CHECK(cudaMalloc(&block.data, block.n_bytes));
  blocks_.push_back(block);
  used_ = begin + padded;
  return block.data;
}

Counters::~Counters() {
  cudaFree(data_);
}

int* Counters::first(std::int64_t n, cudaStream_t stream) {
  if (n > n_) {
    PRECIS_CUDA_CHECK(cudaStreamSynchronize(stream));
    PRECIS_CUDA_CHECK(cudaFree(data_));
    n_ = std::max(n, 2 * n_);
    const std::size_t n_bytes = static_cast<std::size_t>(n_) * sizeof(int);
    PRECIS_CUDA_CHECK(cudaMalloc(reinterpret_cast<void**>(&data_), n_bytes));
    PRECIS_CUDA_CHECK(cudaMemsetAsync(data_, 0, n_bytes, stream));
  }
  return data_;
}

}  // namespace precis::cuda
