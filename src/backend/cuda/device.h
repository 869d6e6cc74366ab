// The device as the operations use it: one stream, and a workspace that only grows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include <cuda_runtime_api.h>

namespace precis::cuda {

/// Ends the program unless `status` is success: after open, a CUDA error is a defect of a kernel or
/// memory that the plan did not foresee, and neither leaves a device to go on with.
void check_cuda(cudaError_t status, const char* file, int line, const char* expression);

#define PRECIS_CUDA_CHECK(expression) \
  ::precis::cuda::check_cuda((expression), __FILE__, __LINE__, #expression)

/// Device memory for the intermediate values of one operation.
///
/// begin() forgets what was taken before; the kernels that use it are ordered by the stream.
class Workspace {
 public:
  Workspace() = default;
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;
  ~Workspace();

  void begin() { used_ = 0; }

  /// `n` elements, 256-byte aligned, uninitialised.  Memory taken earlier stays valid until begin().
  template <typename T>
  T* take(std::int64_t n) {
    return static_cast<T*>(take_bytes(static_cast<std::size_t>(n) * sizeof(T)));
  }

 private:
  void* take_bytes(std::size_t n_bytes);

  struct Block {
    void* data;
    std::size_t n_bytes;
  };
  std::vector<Block> blocks_;
  std::size_t used_ = 0;  // of all blocks, counted from the first
};

/// Device memory that is zero between operations: a kernel that counts in it leaves zeros behind.
class Counters {
 public:
  Counters() = default;
  Counters(const Counters&) = delete;
  Counters& operator=(const Counters&) = delete;
  ~Counters();

  /// The first `n` of the counters; calls of one operation share them.
  int* first(std::int64_t n, cudaStream_t stream);

 private:
  int* data_ = nullptr;
  std::int64_t n_ = 0;
};

/// What a kernel launch needs besides its arguments.
struct Device {
  cudaStream_t stream = nullptr;
  int n_multiprocessors = 0;
  int max_shared_bytes = 0;  // dynamic shared memory that a block can ask for
  Workspace workspace;
  Counters counters;
};

/// Reports a failed launch; call it after every <<<>>>.
inline void check_launch(const char* file, int line) {
  check_cuda(cudaGetLastError(), file, line, "kernel launch");
}
#define PRECIS_CUDA_LAUNCHED() ::precis::cuda::check_launch(__FILE__, __LINE__)

}  // namespace precis::cuda
