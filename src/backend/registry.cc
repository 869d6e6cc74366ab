#include "backend/registry.h"

#include <fmt/format.h>

#include "backend/cpu/backend.h"
#include "backend/ref/backend.h"
#ifdef PRECIS_HAS_CUDA
#include "backend/cuda/backend.h"
#endif

namespace precis {
namespace {

#ifdef PRECIS_HAS_CUDA
Result<std::unique_ptr<Backend>> make_cuda() {
  return make_cuda_backend();
}

Result<std::vector<Accelerator>> list_devices() {
  PRECIS_ASSIGN_OR_RETURN(const std::vector<CudaDeviceInfo> devices, list_cuda_devices());
  std::vector<Accelerator> out;
  for (const CudaDeviceInfo& device : devices) {
    out.push_back({fmt::format("cuda:{}", out.size()), device.name,
                   fmt::format("compute {}.{}", device.compute_major, device.compute_minor),
                   device.n_multiprocessors, device.total_bytes, device.free_bytes,
                   device.supported()});
  }
  return out;
}
#else
Error without_cuda() {
  return Error{ErrorCode::kUnsupported,
               "cuda: this program was built without the CUDA backend (PRECIS_CUDA=ON builds it)"};
}

Result<std::unique_ptr<Backend>> make_cuda() {
  return without_cuda();
}

Result<std::vector<Accelerator>> list_devices() {
  return without_cuda();
}
#endif

bool has_accelerator() {
  const auto devices = list_devices();
  return devices.ok() && !devices->empty() && devices->front().supported;
}

}  // namespace

Result<std::unique_ptr<Backend>> make_backend(std::string_view name, ThreadPool& threads) {
  if (name == "auto") return has_accelerator() ? make_cuda() : make_cpu_backend(threads);
  if (name == "cpu") return make_cpu_backend(threads);
  if (name == "ref") return make_ref_backend();
  if (name == "cuda") return make_cuda();
  return Error{ErrorCode::kInvalidArgument,
               fmt::format("the backend must be auto, cpu, cuda or ref, not \"{}\"", name)};
}

std::vector<std::string> backend_names() {
  std::vector<std::string> names{"cpu", "ref"};
  if (has_accelerator()) names.emplace_back("cuda");
  return names;
}

Result<std::vector<Accelerator>> list_accelerators() {
  return list_devices();
}

}  // namespace precis
