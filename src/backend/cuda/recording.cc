#include "backend/cuda/recording.h"

#include <algorithm>

#include "backend/cuda/device.h"

namespace precis::cuda {
namespace {

void destroy(cudaGraphExec_t graph) {
  if (graph != nullptr) cudaGraphExecDestroy(graph);
}

cudaGraphExec_t record(cudaStream_t stream, const std::function<void()>& body) {
  // Relaxed: other threads of the process may allocate meanwhile.
  PRECIS_CUDA_CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed));
  body();
  cudaGraph_t graph = nullptr;
  PRECIS_CUDA_CHECK(cudaStreamEndCapture(stream, &graph));
  cudaGraphExec_t executable = nullptr;
  PRECIS_CUDA_CHECK(cudaGraphInstantiate(&executable, graph, 0));
  PRECIS_CUDA_CHECK(cudaGraphDestroy(graph));
  return executable;
}

}  // namespace

StepRecordings::~StepRecordings() {
  for (const Step& step : steps_) destroy(step.graph);
}

void StepRecordings::run(std::span<const std::uint64_t> key, cudaStream_t stream,
                         const std::function<void()>& body) {
  const auto known = std::find_if(steps_.begin(), steps_.end(), [&](const Step& step) {
    return std::equal(key.begin(), key.end(), step.key.begin(), step.key.end());
  });
  if (known == steps_.end()) {
    if (steps_.size() == kMaxSteps) {
      destroy(steps_.back().graph);
      steps_.pop_back();
    }
    steps_.push_front({{key.begin(), key.end()}, nullptr});
    return body();
  }
  steps_.splice(steps_.begin(), steps_, known);
  if (known->graph == nullptr) known->graph = record(stream, body);
  PRECIS_CUDA_CHECK(cudaGraphLaunch(known->graph, stream));
}

}  // namespace precis::cuda
