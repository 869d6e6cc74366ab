#include "backend/cuda/backend.h"

#include <optional>
#include <utility>

#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include "backend/cuda/device.h"
#include "backend/cuda/draw.h"
#include "backend/cuda/experts/pack.h"
#include "backend/cuda/limits.h"
#include "backend/cuda/ops.h"
#include "backend/cuda/recording.h"
#include "backend/cuda/weight.h"
#include "base/check.h"

namespace precis {
namespace {

Error no_device(cudaError_t status) {
  return cuda::device_error("cuda", status == cudaSuccess ? cudaErrorNoDevice : status);
}

std::string device_name(int idx, const std::string& name) {
  return fmt::format("cuda:{} ({})", idx, name);
}

class CudaBackend final : public Backend {
 public:
  CudaBackend(int idx, const CudaDeviceInfo& info)
      : idx_(idx), device_name_(device_name(idx, info.name)), total_bytes_(info.total_bytes) {
    device_.n_multiprocessors = info.n_multiprocessors;
  }
  ~CudaBackend() override {
    if (device_.stream == nullptr) return;
    cudaStreamSynchronize(device_.stream);  // the memory of what still runs goes with the pool
    cudaStreamDestroy(device_.stream);
  }

  Result<void> start() {
    cudaError_t status = cudaSetDevice(idx_);
    if (status == cudaSuccess) {
      status = cudaDeviceGetAttribute(&device_.max_shared_bytes,
                                      cudaDevAttrMaxSharedMemoryPerBlockOptin, idx_);
    }
    if (status == cudaSuccess) {
      status = cudaStreamCreateWithFlags(&device_.stream, cudaStreamNonBlocking);
    }
    if (status != cudaSuccess) return cuda::device_error(device_name_, status);
    PRECIS_TRY(device_.pool.start(idx_, device_.stream, device_name_));
    return device_.workspace.start(device_.pool);
  }

  std::string name() const override { return "cuda"; }
  std::string isa() const override { return "sm_90a"; }
  bool host_readable() const override { return false; }

  Result<void> check_sizes(const ModelSizes& sizes) const override {
    return cuda::check_sizes(sizes);
  }

  std::optional<DeviceMemory> memory() const override {
    return DeviceMemory{device_name_, total_bytes_, device_.pool.free_bytes(),
                        cuda::Workspace::kBytes};
  }
  Result<void> reserve(std::int64_t n_bytes) override { return device_.pool.reserve(n_bytes); }
  Buffer allocate(std::size_t n_bytes) override { return device_.pool.allocate(n_bytes); }
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

  void run_step(std::span<const std::uint64_t> key, const std::function<void()>& body) override {
    repeats_steps_ ? recordings_.run(key, device_.stream, body) : body();
  }
  void launch_directly() override { repeats_steps_ = false; }

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
                   fmt::format("{}: want {:.2f} GiB more for experts on the host", device_name_,
                               static_cast<double>(n_bytes) / (1 << 30)));
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
  void do_select(const SelectArgs& a) override { cuda::select(begin(), {&a, 1}); }
  void do_select_all(std::span<const SelectArgs> all) override { cuda::select(begin(), all); }
  void do_attend(const AttendArgs& a) override { cuda::attend(begin(), {&a, 1}); }
  void do_attend_all(std::span<const AttendArgs> all) override { cuda::attend(begin(), all); }
  void do_route(const RouteArgs& a) override { cuda::route(begin(), a); }
  void do_experts(const ExpertsArgs& a) override { cuda::experts(begin(), tables_, a); }

  int idx_;
  std::string device_name_;
  std::int64_t total_bytes_;
  cuda::Device device_;
  cuda::ExpertTables tables_;
  cuda::StepRecordings recordings_;
  bool repeats_steps_ = true;
};

}  // namespace

Result<std::vector<CudaDeviceInfo>> list_cuda_devices() {
  int n = 0;
  const cudaError_t counted = cudaGetDeviceCount(&n);
  if (counted != cudaSuccess || n == 0) return no_device(counted);
  std::vector<CudaDeviceInfo> devices;
  for (int i = 0; i < n; ++i) {
    cudaDeviceProp properties;
    const cudaError_t status = cudaGetDeviceProperties(&properties, i);
    if (status != cudaSuccess) return cuda::device_error(fmt::format("cuda:{}", i), status);
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
    return Error{
        ErrorCode::kUnsupported,
        fmt::format("{}: want compute capability 9.0, found {}.{}", device_name(idx, device.name),
                    device.compute_major, device.compute_minor)};
  }
  auto backend = std::make_unique<CudaBackend>(idx, device);
  PRECIS_TRY(backend->start());
  return std::unique_ptr<Backend>(std::move(backend));
}

}  // namespace precis
