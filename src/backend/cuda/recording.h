// Steps recorded as CUDA graphs: a launch of one graph in place of hundreds of kernel launches.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <span>
#include <vector>

#include <cuda_runtime_api.h>

namespace precis::cuda {

/// The steps of one stream that were seen last, by key.
///
/// The first time, a step runs as it is: tables are uploaded, the workspace grows and kernels are
/// loaded, none of which a recording may do.  The second time it is recorded, and from then on
/// repeated.
class StepRecordings {
 public:
  StepRecordings() = default;
  StepRecordings(const StepRecordings&) = delete;
  StepRecordings& operator=(const StepRecordings&) = delete;
  ~StepRecordings();

  /// Does what `body` does on `stream`; see Backend::run_step.
  void run(std::span<const std::uint64_t> key, cudaStream_t stream,
           const std::function<void()>& body);

 private:
  static constexpr std::size_t kMaxSteps = 64;

  struct Step {
    std::vector<std::uint64_t> key;
    cudaGraphExec_t graph = nullptr;  // null until the step came twice
  };

  std::list<Step> steps_;  // the last used first
};

}  // namespace precis::cuda
