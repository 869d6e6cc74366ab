// The device as the operations use it: one stream, and a workspace of fixed size.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <cuda_runtime_api.h>

#include "precis/status.h"

#include "backend/cuda/memory.h"
#include "tensor/buffer.h"

namespace precis::cuda {

/// What `status` means for someone who wants to use the device called `device`.
Error device_error(const std::string& device, cudaError_t status);

/// Ends the program unless `status` is success: after open, a CUDA error is a defect of a kernel or
/// memory that the plan did not foresee, and neither leaves a device to go on with.
void check_cuda(cudaError_t status, const char* file, int line, const char* expression);

#define PRECIS_CUDA_CHECK(expression) \
  ::precis::cuda::check_cuda((expression), __FILE__, __LINE__, #expression)

/// Device memory for the intermediate values of one operation.
///
/// begin() forgets what was taken before; the kernels that use it are ordered by the stream.  What
/// was handed out never moves, as recorded steps go on using it.
class Workspace {
 public:
  /// What a plan counts.  An operation on many tokens cuts its work so that this is enough; one that
  /// takes more makes it grow.
  static constexpr std::int64_t kBytes = std::int64_t{512} << 20;

  Workspace() = default;
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;

  /// Takes kBytes of `pool`, which must outlive the workspace.
  ///
  /// Errors    kBudget — it has less
  Result<void> start(DevicePool& pool);

  void begin() { used_ = 0; }

  /// `n` elements, 256-byte aligned, uninitialised.  Memory taken earlier stays valid until begin().
  template <typename T>
  T* take(std::int64_t n) {
    return static_cast<T*>(take_bytes(static_cast<std::size_t>(n) * sizeof(T)));
  }

 private:
  void* take_bytes(std::size_t n_bytes);

  DevicePool* pool_ = nullptr;
  std::vector<Buffer> blocks_;
  std::size_t used_ = 0;  // of all blocks, counted from the first
};

/// Device memory of one operation that is zero at first; its kernels leave behind what the next launch
/// wants to find.
///
/// What was handed out stays, as recorded steps go on using it.
class Counters {
 public:
  /// The first `n` of the counters; all calls share them.
  int* first(std::int64_t n, DevicePool& pool);

 private:
  std::vector<Buffer> blocks_;  // the last and largest is handed out
};

/// What a kernel launch needs besides its arguments.
struct Device {
  cudaStream_t stream = nullptr;
  DevicePool pool;
  int n_multiprocessors = 0;
  int max_shared_bytes = 0;  // dynamic shared memory that a block can ask for
  Workspace workspace;
  Counters hyper_counters;
  Counters select_counters;
};

/// Reports a failed launch; call it after every <<<>>>.
inline void check_launch(const char* file, int line) {
  check_cuda(cudaGetLastError(), file, line, "kernel launch");
}
#define PRECIS_CUDA_LAUNCHED() ::precis::cuda::check_launch(__FILE__, __LINE__)

}  // namespace precis::cuda
