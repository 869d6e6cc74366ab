#include "backend/cuda/backend.h"

#include <algorithm>

#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include "backend/cuda/device.h"
#include "backend/cuda/draw.h"
#include "backend/cuda/experts/pack.h"
#include "backend/cuda/ops.h"
#include "backend/cuda/weight.h"
#include "base/check.h"

namespace precis {
namespace {

constexpr double kGiB = 1024.0 * 1024 * 1024;

class CudaBackend final : public Backend {
 public:
  explicit CudaBackend(int idx) : idx_(idx) {}
  ~CudaBackend() override {
    if (device_.stream != nullptr) cudaStreamDestroy(device_.stream);
  }

  Result<void> start() {
    cudaDeviceProp properties;
    PRECIS_CUDA_CHECK(cudaGetDeviceProperties(&properties, idx_));
    device_.n_multiprocessors = properties.multiProcessorCount;
    device_.max_shared_bytes = static_cast<int>(properties.sharedMemPerBlockOptin);
    cudaError_t status = cudaSetDevice(idx_);
    if (status == cudaSuccess) {
      status = cudaStreamCreateWithFlags(&device_.stream, cudaStreamNonBlocking);
    }
    if (status != cudaSuccess) {
      return Error{ErrorCode::kBudget, fmt::format("cuda:{} ({}): {}", idx_, properties.name,
                                                   cudaGetErrorString(status))};
    }
    return {};
  }

  std::string name() const override { return "cuda"; }
  std::string isa() const override { return "sm_90a"; }
  bool host_readable() const override { return false; }

  Buffer allocate(std::size_t n_bytes) override {
    void* data = nullptr;
    const cudaError_t status = cudaMalloc(&data, std::max<std::size_t>(n_bytes, 1));
    if (status == cudaErrorMemoryAllocation) out_of_memory(n_bytes);
    PRECIS_CUDA_CHECK(status);
    PRECIS_CUDA_CHECK(cudaMemsetAsync(data, 0, n_bytes, device_.stream));
    return Buffer(data, n_bytes, [](void* memory, std::size_t) { cudaFree(memory); });
  }
  void copy_in(std::byte* device, std::span<const std::byte> host) override {
    if (host.empty()) return;
    // From pageable memory the call returns when `host` may be reused.
    PRECIS_CUDA_CHECK(
        cudaMemcpyAsync(device, host.data(), host.size(), cudaMemcpyDefault, device_.stream));
  }
  void copy_out(std::span<std::byte> host, const std::byte* device) override {
    if (host.empty()) return;
    PRECIS_CUDA_CHECK(
        cudaMemcpyAsync(host.data(), device, host.size(), cudaMemcpyDeviceToHost, device_.stream));
    PRECIS_CUDA_CHECK(cudaStreamSynchronize(device_.stream));
  }

  std::unique_ptr<Weight> load_weight(const WeightSource& source) override {
    const auto place = [&](const void* stored, const RandomTable* drawn, std::size_t n_bytes) {
      if (n_bytes == 0) return Buffer();
      Buffer buffer =
          source.place == WeightPlace::kHost ? allocate_on_host(n_bytes) : allocate(n_bytes);
      put(stored, drawn, n_bytes, buffer.data());
      return buffer;
    };
    if (is_packed(source)) {
      if (std::unique_ptr<Weight> packed = load_packed(source)) return packed;
    }
    return std::make_unique<cuda::CudaWeight>(
        source, cuda::CudaWeight::Layout::kCheckpoint,
        place(source.codes, source.drawn_codes, source.code_bytes()),
        place(source.scales, source.drawn_scales, cuda::scale_bytes(source)));
  }
  bool draws_weights() const override { return true; }
  bool reads_host_weights() const override { return true; }
  std::size_t weight_bytes(const WeightSource& source) const override {
    if (is_packed(source)) {
      return cuda::packed_bytes(source) + static_cast<std::size_t>(source.n_out);
    }
    return source.code_bytes() + cuda::scale_bytes(source);
  }

 private:
  // Pinned memory that kernels read over the bus at the same address.
  Buffer allocate_on_host(std::size_t n_bytes) const {
    void* data = nullptr;
    const cudaError_t status = cudaHostAlloc(&data, n_bytes, cudaHostAllocMapped);
    if (status == cudaErrorMemoryAllocation) {
      check_failed(__FILE__, __LINE__, "pinned host memory",
                   fmt::format("cuda:{}: want {:.2f} GiB more for experts on the host", idx_,
                               static_cast<double>(n_bytes) / kGiB));
    }
    PRECIS_CUDA_CHECK(status);
    return Buffer(data, n_bytes, [](void* memory, std::size_t) { cudaFreeHost(memory); });
  }

  // What a WeightSource says of codes or scales, as bytes at `to`.
  void put(const void* stored, const RandomTable* drawn, std::size_t n_bytes, std::byte* to) {
    if (drawn != nullptr) return cuda::draw(device_, *drawn, n_bytes, to);
    copy_in(to, {static_cast<const std::byte*>(stored), n_bytes});
  }

  // Experts on the host stay as they are: the kernel that wants them packed copies from the device.
  static bool is_packed(const WeightSource& source) {
    return source.place != WeightPlace::kHost && cuda::has_packed_shape(source);
  }

  // Null where the scales of a row are too far apart.
  std::unique_ptr<Weight> load_packed(const WeightSource& source) {
    cuda::Device& device = begin();
    const auto stage = [&](const void* stored, const RandomTable* drawn, std::size_t n_bytes) {
      auto* staged = device.workspace.take<std::byte>(static_cast<std::int64_t>(n_bytes));
      put(stored, drawn, n_bytes, staged);
      return reinterpret_cast<const std::uint8_t*>(staged);
    };
    Buffer blocks = allocate(cuda::packed_bytes(source));
    Buffer row_scales = allocate(static_cast<std::size_t>(source.n_out));
    const std::uint8_t* codes = stage(source.codes, source.drawn_codes, source.code_bytes());
    const std::uint8_t* scales =
        stage(source.scales, source.drawn_scales, cuda::scale_bytes(source));
    if (!cuda::pack_fp4(device, source, codes, scales, blocks.as<std::uint8_t>(),
                        row_scales.as<std::uint8_t>())) {
      return nullptr;
    }
    return std::make_unique<cuda::CudaWeight>(source, cuda::CudaWeight::Layout::kPacked,
                                              std::move(blocks), std::move(row_scales));
  }

  // Memory beyond the plan cannot be refused by an operation, so it ends the program, with numbers.
  [[noreturn]] void out_of_memory(std::size_t n_bytes) const {
    std::size_t free_bytes = 0;
    std::size_t total_bytes = 0;
    cudaMemGetInfo(&free_bytes, &total_bytes);
    check_failed(
        __FILE__, __LINE__, "device memory",
        fmt::format("cuda:{}: want {:.2f} GiB more, {:.2f} of {:.2f} GiB are free", idx_,
                    static_cast<double>(n_bytes) / kGiB, static_cast<double>(free_bytes) / kGiB,
                    static_cast<double>(total_bytes) / kGiB));
  }

  cuda::Device& begin() {
    device_.workspace.begin();
    return device_;
  }

  void do_embed(const EmbedArgs& a) override { cuda::embed(begin(), a); }
  void do_linear(const LinearArgs& a) override { cuda::linear(begin(), a); }
  void do_rms_norm(const RmsNormArgs& a) override { cuda::rms_norm(begin(), a); }
  void do_add_to_streams(const AddToStreamsArgs& a) override { cuda::add_to_streams(begin(), a); }
  void do_hyper_pre(const HyperPreArgs& a) override { cuda::hyper_pre(begin(), a); }
  void do_hyper_post(const HyperPostArgs& a) override { cuda::hyper_post(begin(), a); }
  void do_hyper_head(const HyperHeadArgs& a) override { cuda::hyper_head(begin(), a); }
  void do_query(const QueryArgs& a) override { cuda::query(begin(), a); }
  void do_window_rows(const WindowRowsArgs& a) override { cuda::window_rows(begin(), a); }
  void do_commit_window(const CommitWindowArgs& a) override { cuda::commit_window(begin(), a); }
  void do_index_query(const IndexQueryArgs& a) override { cuda::index_query(begin(), a); }
  void do_compress(const CompressArgs& a) override { cuda::compress(begin(), a); }
  void do_select(const SelectArgs& a) override { cuda::select(begin(), a); }
  void do_attend(const AttendArgs& a) override { cuda::attend(begin(), a); }
  void do_route(const RouteArgs& a) override { cuda::route(begin(), a); }
  void do_experts(const ExpertsArgs& a) override { cuda::experts(begin(), tables_, a); }

  int idx_;
  cuda::Device device_;
  cuda::ExpertTables tables_;
};

}  // namespace

Result<std::vector<CudaDeviceInfo>> list_cuda_devices() {
  int n = 0;
  const cudaError_t status = cudaGetDeviceCount(&n);
  if (status != cudaSuccess || n == 0) {
    cudaGetLastError();  // a later call starts without this one's error
    return Error{ErrorCode::kUnsupported,
                 fmt::format("cuda: want a driver for CUDA {}.{} and a GPU, found none ({})",
                             CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10,
                             status == cudaSuccess ? "no device" : cudaGetErrorString(status))};
  }
  std::vector<CudaDeviceInfo> devices;
  for (int i = 0; i < n; ++i) {
    cudaDeviceProp properties;
    PRECIS_CUDA_CHECK(cudaGetDeviceProperties(&properties, i));
    CudaDeviceInfo info{properties.name,
                        properties.major,
                        properties.minor,
                        properties.multiProcessorCount,
                        static_cast<std::int64_t>(properties.totalGlobalMem),
                        0};
    std::size_t free_bytes = 0;
    std::size_t total_bytes = 0;
    if (cudaSetDevice(i) == cudaSuccess &&
        cudaMemGetInfo(&free_bytes, &total_bytes) == cudaSuccess) {
      info.free_bytes = static_cast<std::int64_t>(free_bytes);
    } else {
      cudaGetLastError();
    }
    devices.push_back(std::move(info));
  }
  return devices;
}

Result<std::unique_ptr<Backend>> make_cuda_backend(int idx) {
  PRECIS_ASSIGN_OR_RETURN(const std::vector<CudaDeviceInfo> devices, list_cuda_devices());
  if (idx < 0 || idx >= std::ssize(devices)) {
    return Error{ErrorCode::kUnsupported,
                 fmt::format("cuda:{}: want a device below {}", idx, devices.size())};
  }
  const CudaDeviceInfo& device = devices[static_cast<std::size_t>(idx)];
  if (!device.supported()) {
    return Error{ErrorCode::kUnsupported,
                 fmt::format("cuda:{} ({}): want compute capability 9.0, found {}.{}", idx,
                             device.name, device.compute_major, device.compute_minor)};
  }
  auto backend = std::make_unique<CudaBackend>(idx);
  PRECIS_TRY(backend->start());
  return std::unique_ptr<Backend>(std::move(backend));
}

}  // namespace precis
